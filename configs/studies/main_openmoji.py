"""The main study on OpenMoji at 32 px: plain training against LISA, four tasks, three seeds, and LISA taken apart.

    python -m lisa_jax study --config=configs/studies/main_openmoji.py --out=runs/main_openmoji
    python -m lisa_jax study --config=configs/studies/main_openmoji.py --out=runs/main_openmoji --summary

Runs of 300 steps of 16 drawings, sized for two CPU cores; the most important come first, so that a study that is cut
short is still one: every task with and without LISA, the same with two more seeds, both arms at other learning rates,
line art with other lam, hooks, schedules and decoders, and line art at a rate so small that its start is slow.
Interrupt it as you like; a cluster's array task does one run with --cell=N. A plain step takes .6 s of an idle
core and a LISA step .7; a run, measuring included, four to five minutes, compiling, once an arm, four more.
"""

from ml_collections import ConfigDict

from lisa_jax.configs.studies import base

TASKS = ("lineart", "segmentation", "lowres", "lineart+lowres")
SEEDS = (0, 1, 2)


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = main_study("openmoji", "openmoji_base", TASKS)
    config.grids = (
        *config.grids,
        # A slow start, as on large models: here the decoder is ahead of the controlled network for a while.
        ConfigDict({"learning_rate": 3e-5, "num_steps": 1000, "lam": (0.0, 0.2)}),
        # The task on which alignment has shown most: more seeds, and more weight.
        *(ConfigDict({"task": "lowres", "seed": seed, "lam": (0.0, 0.2)}) for seed in (3, 4)),
        ConfigDict({"task": "lowres", "seed": SEEDS, "lam": 1.0}),
    )
    return config


def main_study(data: str, base_folder: str, tasks: tuple[str, ...], *, flip: bool = True) -> ConfigDict:
    """The study of a data set.

    Args:
      data: name of the data set.
      base_folder: of the base in the package's assets.
      tasks: the most important first; the first one is used to take LISA apart.
      flip: whether training mirrors pictures.
    """
    config = base.study(data, base_folder, tasks[0], title="main study", flip=flip)
    both = (0.0, 0.2)
    config.grids = tuple(
        ConfigDict(grid)
        for grid in (
            *({"seed": seed, "task": task, "lam": both} for seed in SEEDS for task in tasks),
            *({"learning_rate": rate, "task": task, "lam": both} for rate in (3e-4, 3e-3) for task in tasks[:3]),
            {"lam": (0.05, 1.0)},
            {"hook": ("mid", "down_1", "down_5", "down_3,mid")},
            {"lam_stop_step": 100},
            {"align_every": 4, "seed": SEEDS},
            {"decoder_width": 2.0},
            {"weighting": ("likelihood_score", "high_noise", "low_noise")},
        )
    )
    return config
