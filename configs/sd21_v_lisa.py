r"""A ControlNet with LISA beside Stable Diffusion 2.1 at 768 px, which predicts v: the recipe of sd21_lisa.py.

    python -m lisa_jax train --config=configs/sd21_v_lisa.py:pose --workdir=runs/sd21_v_pose --config.base=DIR

The argument is the task, as of sd21_lisa.py; it names the prepared data set (data/pose_768, ...) and its condition. The
authors train at 512 only. A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd21_v --out=runs/smoke/tiny_sd21_v
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_v --base=runs/smoke/tiny_sd21_v --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd21_v_lisa.py:pose,smoke --workdir=runs/smoke/sd21_v_lisa

Hardware: eight devices of 24 GB. Activations are recomputed in the backward pass; with fused attention (NVIDIA) and
40 GB, --config.remat=none saves 16% of the time. On one device add --config.accumulate=32.
Memory a device, by the compiler's plan (docs/scaling.md), not run: with fused attention on an NVIDIA GPU 5.7 GiB for
weights and optimizer and .6 for each image of the microbatch: 10.6 GiB at 8 images. Accumulation adds 1.4. Computed by
hand: without remat 2.6 GB an image; without fused attention 2.6 with remat and 17.2 without it.
Time, computed, not measured: 9,150 GFLOP an image, 2.3e19 in all: at 40% of the bfloat16 peak 6.5 hours on eight A100,
16.4 hours on one H100. Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    config = recipes.stable_diffusion(
        folder="stable-diffusion-2-1",
        preset="sd21_v",
        data=f"{task}_v" if smoke else f"{task}_768",
        condition=task,
        image_size=768,
        smoke=smoke,
    )
    config.remat = "full"
    return config
