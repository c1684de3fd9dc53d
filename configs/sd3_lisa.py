r"""A ControlNet with LISA beside Stable Diffusion 3 medium at 1024 px.

    python -m lisa_jax train --config=configs/sd3_lisa.py:pose --workdir=runs/sd3_pose --config.base=DIR

The argument is the task, as of sd21_lisa.py; it names the prepared data set (data/pose_sd3, ...) and its condition. The
side network copies 12 of the base's 24 blocks. It is trained by the velocity, as the base was; sd3_x0_lisa.py has the
loss of the usual script. A base without text_encoder_3 (T5) trains and samples with 256 tokens of zeros in its place.
The authors have SD3 in their paper, and no code of it: batch, rate and lam are those of their SD2.1.
A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd3_medium --out=runs/smoke/tiny_sd3_medium
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_sd3 \
        --base=runs/smoke/tiny_sd3_medium --image_size=64 --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd3_lisa.py:pose,smoke --workdir=runs/smoke/sd3_lisa

Memory a device, computed, not measured: 21 GB for the frozen weights (4.2), side network, gradients and optimizer
(17), and what a microbatch needs beside them; docs/scaling.md has whole steps, compiled for pods, and how
`mesh.fsdp` and `mesh.split_frozen` divide them.
Time, computed, not measured: 36,673 GFLOP an image with every fourth row aligned, 34,510 without. Not yet run on the
real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    return recipes.stable_diffusion_3(
        folder="stable-diffusion-3-medium-diffusers",
        preset="sd3_medium",
        data=f"{task}_sd3",
        condition=task,
        image_size=1024,
        num_steps=28,
        guidance_scale=7.0,
        smoke=smoke,
    )
