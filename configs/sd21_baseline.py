r"""A plain ControlNet beside Stable Diffusion 2.1-base at 512 px: sd21_lisa.py without the alignment loss.

    python -m lisa_jax train --config=configs/sd21_baseline.py:pose --workdir=runs/sd21_pose_plain --config.base=DIR

What sd21_lisa.py is to be compared with: same data, same batches, same noise. The argument is the task, as
of sd21_lisa.py. A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd21 --out=runs/smoke/tiny_sd21
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose --base=runs/smoke/tiny_sd21 --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd21_baseline.py:pose,smoke --workdir=runs/smoke/sd21_baseline

Hardware and memory: as sd21_lisa.py, the decoder's 0.4 million parameters apart.
Time, computed, not measured: 2,230 GFLOP an image, 19% less than with LISA: at 40% of the bfloat16 peak 1.6 hours on
eight A100, 4.0 hours on one H100. Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    config = recipes.stable_diffusion(
        folder="stable-diffusion-2-1-base", preset="sd21", data=task, condition=task, image_size=512, smoke=smoke
    )
    config.lisa.lam = 0.0
    return config
