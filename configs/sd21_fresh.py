r"""A plain ControlNet beside Stable Diffusion 2.1-base at 512 px whose fresh layers learn ten times as fast.

    python -m lisa_jax train --config=configs/sd21_fresh.py:pose --workdir=runs/sd21_pose_fresh --config.base=DIR

sd21_baseline.py but for one field: the zero convolutions and the condition's embedding, which are not copied from the
base, have ten times the learning rate. That is an option of ours, not the authors' recipe, and it has not been run on
the real weights. The argument is the task: pose, seg, depth or sr. A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd21 --out=runs/smoke/tiny_sd21
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose --base=runs/smoke/tiny_sd21 --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd21_fresh.py:pose,smoke --workdir=runs/smoke/sd21_fresh

EVIDENCE

With LISA, whose decoder then has that rate as well: --config.lisa.lam=0.2 --config.optimizer.decoder_rate=10.
Hardware, memory and time (computed, not measured): as sd21_baseline.py. Watch gate_norm.
"""

from ml_collections import ConfigDict

from configs import recipes

TASKS = ("pose", "seg", "depth", "sr")
FRESH_RATE = 10.0


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, TASKS)
    config = recipes.stable_diffusion(
        folder="stable-diffusion-2-1-base", preset="sd21", data=task, condition=task, image_size=512, smoke=smoke
    )
    config.lisa.lam = 0.0
    config.optimizer.fresh_rate = FRESH_RATE
    return config
