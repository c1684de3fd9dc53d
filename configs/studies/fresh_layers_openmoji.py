"""Why ControlNets wait, on OpenMoji at 32 px: learning rates of the layers that are not copied, tasks, remedies.

    python -m lisa_jax study --config=configs/studies/fresh_layers_openmoji.py --out=runs/fresh_openmoji
    python -m lisa_jax study --config=configs/studies/fresh_layers_openmoji.py --out=runs/fresh_openmoji --summary

Two regimes: the learning rates at which the small base trains best, 300 steps, and 3e-5, 400 steps, where control waits
as beside large bases. The most important runs come first. A run takes two to four minutes of a CPU core; what they
gave is in docs/results.md, what it means in docs/why_controlnets_wait.md.
"""

from ml_collections import ConfigDict

from lisa_jax.configs.studies import base
from lisa_jax.configs.studies.base import grids

TASKS = ("lineart", "segmentation")
OTHER_SEEDS = (1, 2)
SLOW = {"learning_rate": 3e-5, "num_steps": 400}
BEST = ({}, {"learning_rate": 3e-3})
# A decoder at the rate of the fresh layers.
LISA = {"lam": 0.2, "fresh_rate": 10.0, "decoder_rate": 10.0}


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = fresh_layers_study("openmoji", "openmoji_base", TASKS)
    plain = {"lam": 0.0}
    config.grids += grids(
        # Remedies side by side, each one line.
        SLOW | plain | {"condition_init": "default"},
        SLOW | plain | {"zero_convolution_scale": (0.03, 0.3)},
        SLOW | plain | {"fresh_rate": 10.0, "fresh_layers": ("zero_convolutions", "condition_embedding")},
        SLOW | plain | {"fresh_rate": 10.0, "condition_init": "default"},
        SLOW | plain | {"fresh_rate": 100.0, "fresh_steps": 200},
        SLOW | LISA | {"lam_stop_step": 100},
        # Does it hold with other habits of training?
        *({"schedule": "cosine", "fresh_rate": (1.0, 3.0), **plain, **rate} for rate in BEST),
        {"ema_decay": 0.99, "fresh_rate": (1.0, 3.0), **plain},
        {"task": "lineart+lowres", "fresh_rate": (1.0, 3.0), **plain},
        # Where does it break?
        {"learning_rate": 3e-3, "fresh_rate": (10.0, 30.0), **plain},
        {"learning_rate": 1e-2, "fresh_rate": (1.0, 3.0), **plain},
        # A longer wait, and larger batches.
        {"learning_rate": 1e-5, "num_steps": 1000, "fresh_rate": (1.0, 30.0), **plain},
        SLOW | plain | {"batch_size": 64, "fresh_rate": (1.0, 10.0)},
    )
    return config


def fresh_layers_study(data: str, base_folder: str, tasks: tuple[str, ...], *, flip: bool = True) -> ConfigDict:
    """The part of the study that both data sets have.

    Args:
      data: name of the data set.
      base_folder: of the base in the package's assets.
      tasks: the most important first.
      flip: whether training mirrors pictures.
    """
    config = base.study(data, base_folder, tasks[0], title="rates of fresh layers", flip=flip)
    config.training.eval_every = 25
    plain, first = {"lam": 0.0}, {"seed": 0}
    config.grids = grids(
        first | SLOW | plain | {"fresh_rate": (1.0, 10.0, 30.0)},
        first | plain | {"fresh_rate": (1.0, 3.0, 10.0)},
        first | plain | {"learning_rate": 3e-3, "fresh_rate": (1.0, 3.0)},
        first | SLOW | LISA,
        first | LISA | {"fresh_rate": 3.0, "decoder_rate": 3.0},
        first | SLOW | {"lam": 0.2},
        first | plain | {"learning_rate": 3e-4, "fresh_rate": (1.0, 10.0, 3.0, 30.0)},
        first | plain | {"learning_rate": 1e-4, "fresh_rate": (1.0, 10.0, 30.0)},
        *({"seed": seed, **SLOW, **plain, "fresh_rate": (1.0, 10.0)} for seed in OTHER_SEEDS),
        *({"seed": seed, **plain, **rate, "fresh_rate": (1.0, 3.0)} for seed in OTHER_SEEDS for rate in BEST),
        *(first | plain | {"task": task, **rate, "fresh_rate": (1.0, 3.0)} for task in tasks[1:] for rate in BEST),
        *(first | plain | SLOW | {"task": task, "fresh_rate": (1.0, 10.0)} for task in tasks[1:]),
        *({"seed": seed, **SLOW, **LISA} for seed in OTHER_SEEDS),
        *({"seed": seed, **LISA, "fresh_rate": 3.0, "decoder_rate": 3.0} for seed in OTHER_SEEDS),
    )
    return config
