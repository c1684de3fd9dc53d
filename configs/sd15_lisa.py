r"""A ControlNet with LISA beside Stable Diffusion 1.5 at 512 px: the recipe of sd21_lisa.py.

    python -m lisa_jax train --config=configs/sd15_lisa.py:pose --workdir=runs/sd15_pose --config.base=DIR

The argument is the task, as of sd21_lisa.py; it names the prepared data set (data/pose_sd15, ...), whose cached text
is that of SD1.5, and its condition. The authors train beside SD2.1 only. A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd15 --out=runs/smoke/tiny_sd15
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_sd15 --base=runs/smoke/tiny_sd15 --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd15_lisa.py:pose,smoke --workdir=runs/smoke/sd15_lisa

Hardware: eight devices of 24 GB with fused attention (NVIDIA), of 64 GB without, at the recipe's 8 images a device and
microbatch. On one device add --config.accumulate=32, which gives the same 256 images a step.
Memory a device, by the compiler's plan (docs/scaling.md), not run: with fused attention on an NVIDIA GPU 5.7 GiB for
weights and optimizer and .7 to .9 for each image of the microbatch: 12.6 GiB at 8 images, 17.8 at 16, 50 at 64.
Accumulation adds 1.3. Without fused attention some 5.6 GB an image, with --config.remat=full .25.
Time, computed, not measured: 2,766 GFLOP an image, 7.1e18 in all: at 40% of the bfloat16 peak 2 hours on eight A100,
5 hours on one H100. With remat 18% more. Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    return recipes.stable_diffusion(
        folder="stable-diffusion-v1-5",
        preset="sd15",
        data=f"{task}_sd15",
        condition=task,
        image_size=512,
        smoke=smoke,
    )
