r"""Two ControlNets trained together, for pose and segmentation, with LISA beside Stable Diffusion 2.1-base at 512 px.

    python -m lisa_jax train --config=configs/sd21_compositional.py --workdir=runs/sd21_pose_seg --config.base=DIR

The main network gets the sum of their residuals, and what their decoders say is summed likewise: where the conditions
are independent given x_t, likelihood scores add. The prepared data set data/pose_seg holds both conditions of each
image. Each network has a scale of its own in sampling, and is exported to a folder of its own. A smoke test of it, on
any CPU:

    python -m lisa_jax new_base --preset=tiny_sd21 --out=runs/smoke/tiny_sd21
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_seg --base=runs/smoke/tiny_sd21 --image_size=64 \
        --condition_column=pose=pose_image --condition_column=seg=seg_image
    python -m lisa_jax train --config=configs/sd21_compositional.py:smoke --workdir=runs/smoke/sd21_compositional

Hardware: eight devices of 40 GB with fused attention (NVIDIA), of 80 GB without, at the recipe's 8 images a device and
microbatch. On one device add --config.accumulate=32, which gives the same 256 images a step.
Memory a device, computed, not measured: 16.3 GB for the frozen weights (1.7), both side networks, gradients and
optimizer, and for each image of the microbatch 1.9 GB with fused attention, 6.1 GB without, .45 GB with
--config.remat=full.
Time, computed, not measured: 3,603 GFLOP an image, 9.2e18 in all: at 40% of the bfloat16 peak 2.6 hours on eight A100,
6.5 hours on one H100. With remat 19% more. Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes

TASKS = ("pose_seg",)


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument may be `smoke`."""
    task, smoke = recipes.task_and_size(argument, TASKS)
    return recipes.stable_diffusion(
        folder="stable-diffusion-2-1-base",
        preset="sd21",
        data=task,
        condition=("pose", "seg"),
        image_size=512,
        smoke=smoke,
    )
