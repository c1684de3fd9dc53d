r"""A plain ControlNet beside Stable Diffusion 2.1-base at 512 px that is to wait less for control.

    python -m lisa_jax train --config=configs/sd21_fresh.py:pose --workdir=runs/sd21_pose_fresh --config.base=DIR

sd21_baseline.py but for two fields: the zero convolutions and the condition's embedding, which the base has none of,
have ten times the learning rate, and the embedding is born so that it does not lose the condition. That is an option of
ours, not the authors' recipe. The argument is the task, as of sd21_lisa.py. A smoke test of it, on any CPU:

    python -m lisa_jax new_base --preset=tiny_sd21 --out=runs/smoke/tiny_sd21
    python -m lisa_jax prepare --source=TABLE --out=runs/smoke/pose --base=runs/smoke/tiny_sd21 --image_size=64 \
        --condition_column=pose=pose_image
    python -m lisa_jax train --config=configs/sd21_fresh.py:pose,smoke --workdir=runs/smoke/sd21_fresh

Evidence, beside small bases (docs/why_controlnets_wait.md): where the trunk learns at 3e-5, a tenfold rate of these
layers reaches what plain training ends with 4.2 times as soon (three seeds); the embedding's birth alone 1.8 times
(1e-4, two seeds), both 4.7 times (one). Where everything may learn at its best rate little of it remains. On Stable
Diffusion it has not been run, so there are no results to expect.

With LISA, whose decoder then has that rate as well: --config.lisa.lam=0.2 --config.optimizer.decoder_rate=10.
Hardware, memory and time (computed, not measured): as sd21_baseline.py. Watch gate_norm.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import recipes

FRESH_RATE = 10.0


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    task, smoke = recipes.task_and_size(argument, recipes.TASKS)
    config = recipes.stable_diffusion(
        folder="stable-diffusion-2-1-base", preset="sd21", data=task, condition=task, image_size=512, smoke=smoke
    )
    config.lisa.lam = 0.0
    config.optimizer.fresh_rate = FRESH_RATE
    config.side.condition_init = "preserving"
    return config
