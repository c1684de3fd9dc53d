r"""A ControlNet with LISA beside Stable Diffusion 3.5 medium at 1024 px: sd3_lisa.py with its base.

    python -m lisa_jax train --config=configs/sd35_medium_lisa.py:pose --workdir=runs/sd35_medium_pose --config.base=DIR

The argument is the task, as of sd3_lisa.py; it names the prepared data set (data/pose_sd35_medium, ...) and its
condition.
A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd35_medium --out=runs/smoke/tiny_sd35_medium
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_sd35_medium \
        --base=runs/smoke/tiny_sd35_medium --image_size=64 --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd35_medium_lisa.py:pose,smoke --workdir=runs/smoke/sd35_medium_lisa

Memory a device, computed, not measured: 25 GB for the frozen weights (4.9), side network, gradients and optimizer
(20), and what a microbatch needs beside them; docs/scaling.md has whole steps, compiled for pods, and how
`mesh.fsdp` and `mesh.split_frozen` divide them.
Time, computed, not measured: 49,618 GFLOP an image with every fourth row aligned, 46,908 without. Not yet run on the
real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    return recipes.stable_diffusion_3(
        folder="stable-diffusion-3.5-medium",
        preset="sd35_medium",
        data=f"{task}_sd35_medium",
        condition=task,
        image_size=1024,
        num_steps=40,
        guidance_scale=4.5,
        smoke=smoke,
    )
