r"""A ControlNet with LISA beside Stable Diffusion 2.1-base at 512 px: the authors' recipe.

    python -m lisa_jax train --config=configs/sd21_lisa.py:pose --workdir=runs/sd21_pose --config.base=DIR

The argument is the task: pose, seg, depth, sr or canny; it names the prepared data set (data/pose, ...) and its
condition. `anything` with --config.data.dir=DIR takes the only condition that DIR holds, or the one that
--config.data.condition names. docs/real_checkpoints.md goes from a downloaded folder to the exported ControlNet. A
smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd21 --out=runs/smoke/tiny_sd21
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose --base=runs/smoke/tiny_sd21 --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd21_lisa.py:pose,smoke --workdir=runs/smoke/sd21_lisa

Two things are not theirs: bfloat16 in place of fp16, and that `lisa_jax prepare` resizes by an antialiased Lanczos
filter where they take a bilinear one. The rate is constant from the first step; earlier versions of this config had 500
steps of warm-up, which are not theirs either: a run begun so goes on alike with --config.optimizer.warmup_steps=500.

Hardware: eight devices of 24 GB with fused attention (NVIDIA), of 48 GB without, at the recipe's 8 images a device and
microbatch. On one device add --config.accumulate=32, which gives the same 256 images a step.
Memory a device, by the compiler's plan (docs/scaling.md), not run: with fused attention on an NVIDIA GPU 5.7 GiB for
weights and optimizer and .7 to .9 for each image of the microbatch: 12.6 GiB at 8 images, 17.7 at 16, 49 at 64.
Accumulation adds 1.4. Without fused attention some 4 GB an image, with --config.remat=full .3: 10.3 GiB at 16 images.
Time, computed, not measured: 2,764 GFLOP an image, 7.1e18 in all: at 40% of the bfloat16 peak 2 hours on eight A100,
5 hours on one H100. With remat 18% more. Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    return recipes.stable_diffusion(
        folder="stable-diffusion-2-1-base", preset="sd21", data=task, condition=task, image_size=512, smoke=smoke
    )
