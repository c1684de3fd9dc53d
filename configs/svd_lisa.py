r"""A ControlNet of videos with LISA beside Stable Video Diffusion: 14 frames of 512 x 512.

    python -m lisa_jax train --config=configs/svd_lisa.py:pose --workdir=runs/svd_pose --config.base=DIR

The argument is the task, as of sd21_lisa.py; it names the prepared data set (data/pose_svd, ...), whose cached context
has the first frames, and its condition, which is a video, too. The authors have Stable Video Diffusion in their paper,
and no code of it: frames, size and rate are what ControlNets beside it are usually trained with, lam and hook those of
their SD2.1. A smoke test of it, on any CPU, 167 s of a core's time, of which its compiler takes 137:

    python -m lisa_jax new_base --preset=tiny_svd --out=runs/smoke/tiny_svd
    python -m lisa_jax prepare --source=CLIPS --out=runs/smoke/pose_svd --base=runs/smoke/tiny_svd --image_size=64 \
        --frames=4 --fps=7 --image_column=video --condition_column=pose
    python -m lisa_jax train --config=configs/svd_lisa.py:pose,smoke --workdir=runs/smoke/svd_lisa

Time, computed, not measured: 61,937 GFLOP a clip, 1.22 times the 50,634 of plain training (svd_baseline.py): 9.9e18 in
all, without what remat=full computes again. With it, one clip takes 19.3 GiB of a TPU v5p's 94.8 and at least 166 ms
(docs/scaling.md). Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    config = recipes.stable_video_diffusion(
        folder="stable-video-diffusion-img2vid",
        preset="svd",
        data=f"{task}_svd",
        condition=task,
        frames=14,
        image_size=512,
        smoke=smoke,
    )
    if not smoke:
        # One clip at a time on each of 8 devices; fewer and larger steps than of pictures.
        config.update(batch_size=32, accumulate=4, num_steps=5_000, remat="full", preview_count=2)
        config.optimizer.learning_rate = 2e-5
    return config
