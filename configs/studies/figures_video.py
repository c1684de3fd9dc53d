"""Plain training against LISA beside a UNet of videos: poses of moving people at 8 x 32 x 32, three seeds.

    python -m lisa_jax study --config=configs/studies/figures_video.py --out=runs/figures_video
    python -m lisa_jax study --config=configs/studies/figures_video.py --out=runs/figures_video --summary

Six runs of 400 steps of 8 clips, a pair after the other: each takes five to eight minutes of a CPU core, measuring
included. Found (docs/results.md): loss .1619 plain, .1624 LISA, higher in all three seeds; key points within .1 of the
box diagonal .888 and .887, no difference.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import figures_video_pose
from lisa_jax.configs.studies import base


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = base.study("figures_video", "figures_video_base", "pose", title="UNet of videos", flip=False)
    run = figures_video_pose.get_config()
    config.training.condition_channels = run.condition_channels
    config.training.data = ConfigDict(config.training.data.to_dict() | {"image_size": run.data.image_size})
    config.training.sampling.update(sampler="euler", num_steps=run.sampling.num_steps, batch_size=16)
    config.training.update(preview_count=32, preview_every=200)
    config.sample_at = (100,)
    config.validation.num_examples = 64
    # One of clips, effnet_lite0_clips, would see 8,000 frames before the first run.
    config.extractor.name = ""
    # At 1e-3 plain training learns more slowly.
    config.defaults.update(batch_size=8, num_steps=400, learning_rate=3e-3)
    config.grids = base.grids(*({"seed": seed, "lam": (0.0, 0.2)} for seed in (0, 1, 2)))
    return config
