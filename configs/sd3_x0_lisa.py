r"""A ControlNet with LISA beside Stable Diffusion 3 medium at 512 px, by the loss of the usual script.

    python -m lisa_jax train --config=configs/sd3_x0_lisa.py:pose --workdir=runs/sd3_512_pose --config.base=DIR

What diffusers' script for ControlNets beside Stable Diffusion 3 trains by default: the error of x0 in place of the
velocity's, unweighted, at 5e-6; the paper's authors probably ran it. Not its faults: condition, shift and pooled text
are the same in training and in sampling. The argument is the task, as of sd3_lisa.py; it names the prepared data set
(data/pose_sd3_512, ...) and its condition.
A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd3_medium --out=runs/smoke/tiny_sd3_medium
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_sd3_512 \
        --base=runs/smoke/tiny_sd3_medium --image_size=64 --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd3_x0_lisa.py:pose,smoke --workdir=runs/smoke/sd3_x0_lisa

Memory a device, computed, not measured: 21 GB for the frozen weights (4.2), side network, gradients and optimizer
(17), and what a microbatch needs beside them; docs/scaling.md has whole steps, compiled for pods, and how
`mesh.fsdp` and `mesh.split_frozen` divide them.
Time, computed, not measured: 8,242 GFLOP an image with every fourth row aligned, 7,734 without. Not yet run on the
real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    config = recipes.stable_diffusion_3(
        folder="stable-diffusion-3-medium-diffusers",
        preset="sd3_medium",
        data=f"{task}_sd3_512",
        condition=task,
        image_size=512,
        num_steps=28,
        guidance_scale=7.0,
        smoke=smoke,
    )
    config.side.num_layers = None if smoke else 12
    config.loss.space = "x0"
    if not smoke:
        config.optimizer.learning_rate = 5e-6
    return config
