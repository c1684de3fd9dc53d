r"""A ControlNet with LISA beside Stable Diffusion XL at 1024 px: the recipe of sd21_lisa.py.

    python -m lisa_jax train --config=configs/sdxl_lisa.py:pose --workdir=runs/sdxl_pose --config.base=DIR

The argument is the task, as of sd21_lisa.py; it names the prepared data set (data/pose_sdxl, ...), whose cached context
has the text of both encoders and each picture's own size, and its condition. The hook is the last block of the middle
level, as of SD2.1. The authors train beside SD2.1 only: batch, rate and lam are those of it. A smoke test of it, on any
CPU:

    python -m lisa_jax new_base --preset=tiny_sdxl --out=runs/smoke/tiny_sdxl
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose_sdxl --base=runs/smoke/tiny_sdxl --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sdxl_lisa.py:pose,smoke --workdir=runs/smoke/sdxl_lisa

`--config.side.lora_rank=128 --config.optimizer.learning_rate=1e-4` trains a Control-LoRA (docs/control_lora.md): 198
million parameters in place of 1,251, which with gradients and optimizer take 3.2 GB in place of 20.

Memory a device, by the compiler's plan (docs/scaling.md), not run: with --config.remat=full 32.5 GiB at 16 images on
one NVIDIA card of 80 GB (72.8 for a program), 18.8 of them weights and optimizer; by the same count 48 images fit.
--config.accumulate=16 gives the recipe's 256 and adds the gradients' sum, 4.7. Eight devices divide the 18.8 by
--config.mesh.fsdp=8 --config.mesh.split_frozen=True: 2.4 each, 10.3 in all at eight images a device. A card of 24 GB
(21.8 for a program) takes the Control-LoRA: 10.8 GiB at four images, one more for each more; the copy leaves 3.0 beside
its weights and optimizer. The plan is made by
`lisa_jax compile --config=configs/sdxl_lisa.py:pose --topology=h100:1 --images_per_chip=16 --config.remat=full`.
Time, computed, not measured: 23,887 GFLOP an image, 1.19 times the 20,045 of plain training (sdxl_baseline.py): 6.1e19
in all. Not yet run on the real weights, so there are no results to expect.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    config = recipes.stable_diffusion(
        folder="stable-diffusion-xl-base-1.0",
        preset="sdxl",
        data=f"{task}_sdxl",
        condition=task,
        image_size=1024,
        smoke=smoke,
    )
    # As the base's authors and diffusers' pipeline sample it.
    config.sampling.update(sampler="euler", guidance_scale=5.0)
    if not smoke:
        config.sampling.num_steps = 30
    return config
