r"""A ControlNet with LISA beside Stable Diffusion 3.5 large at 1024 px: sd3_lisa.py with its base.

    python -m lisa_jax train --config=configs/sd35_large_lisa.py:pose --workdir=runs/sd35_large_pose --config.base=DIR

The argument is the task, as of sd3_lisa.py; it names the prepared data set (data/pose_sd35_large, ...) and its
condition.
To go on from one of the published 8B side networks, of 19 single blocks, add --config.side.start_from=DIR.
A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd35_large --out=runs/smoke/tiny_sd35_large
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_sd35_large \
        --base=runs/smoke/tiny_sd35_large --image_size=64 --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd35_large_lisa.py:pose,smoke --workdir=runs/smoke/sd35_large_lisa

Memory a device, computed, not measured: 59 GB for the frozen weights (16.3), side network, gradients and optimizer
(43), and what a microbatch needs beside them; docs/scaling.md has whole steps, compiled for pods, and how
`mesh.fsdp` and `mesh.split_frozen` divide them.
Time, computed, not measured: 107,898 GFLOP an image with every fourth row aligned, 100,255 without. Not yet run on the
real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    return recipes.stable_diffusion_3(
        folder="stable-diffusion-3.5-large",
        preset="sd35_large",
        data=f"{task}_sd35_large",
        condition=task,
        image_size=1024,
        num_steps=28,
        guidance_scale=3.5,
        smoke=smoke,
    )
