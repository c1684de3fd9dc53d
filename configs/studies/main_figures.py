"""The main study on figures at 32 px: plain training against LISA on pose and depth, three seeds, and LISA's parts.

    python -m lisa_jax study --config=configs/studies/main_figures.py --out=runs/main_figures
    python -m lisa_jax study --config=configs/studies/main_figures.py --out=runs/main_figures --summary

Runs like those of main_openmoji.py, in the same order: both tasks with and without LISA, two more seeds, other learning
rates, then pose with other lam, hooks, schedules and decoders. Sized for two CPU cores.
"""

from ml_collections import ConfigDict

from lisa_jax.configs.studies.main_openmoji import main_study

TASKS = ("pose", "depth")


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    # The skeleton's colours tell left from right.
    return main_study("figures", "figures_base", TASKS, flip=False)
