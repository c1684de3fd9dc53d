"""The embedded base of videos: a small UNet like Stable Video Diffusion's on clips of figures, from scratch.

    python -m lisa_jax pretrain --config=configs/figures_video_base.py --workdir=runs/figures_video_base

It makes 8 frames of 32 x 32 from the first one. 1,800 steps of 8 clips: 25 minutes of CPU time, compiling included; the
main loss ends at .17, which is .24 of the target's power. What it draws is grainy: of noise of level .1 it takes away
half. Writes the folder runs/figures_video_base/base; the one that ships as lisa_jax/assets/figures_video_base was made
so, but for its first 358 steps, whose rate fell as towards 1,200.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import base


def get_config() -> ConfigDict:
    """Config of `lisa_jax pretrain`."""
    config = base.training()
    config.update(batch_size=8, num_steps=1800, accumulate=1, compute_dtype="float32")
    config.update(caption_dropout=0.05, ema_decay=0.998, log_every=50, eval_every=500)
    config.optimizer.update(learning_rate=1e-3, schedule="cosine", warmup_steps=100, b2=0.99)
    # A mirrored pose would have its left limbs in the colours of right ones.
    config.data = ConfigDict({"name": "figures_video", "image_size": (8, 32, 32), "flip": False})
    config.temporal_unet = ConfigDict(
        {
            "block_out_channels": (32, 64, 96),
            "cross_attention_levels": (False, False, True),
            "layers_per_block": 1,
            "heads": (1, 2, 3),
            # The UNet sees 16 x 16 squares of 2 x 2 pixels, for a quarter of the work.
            "patch_size": 2,
        }
    )
    # Fixed at random: what matters of the first frame the UNet sees itself.
    config.image_encoder = ConfigDict({"width": 64, "layers": 1, "heads": 4})
    # The pixels need no such noise as latents of 96 x 96.
    config.scheduler = ConfigDict({"sigma_min": 0.01, "sigma_max": 80.0})
    config.sampling = ConfigDict({"sampler": "euler", "num_steps": 15, "guidance_scale": 1.0, "count": 8})
    return config
