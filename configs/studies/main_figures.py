"""The main study on figures at 32 px: plain training against LISA on pose and depth, three seeds, and LISA's parts.

    python -m lisa_jax study --config=configs/studies/main_figures.py --out=runs/main_figures
    python -m lisa_jax study --config=configs/studies/main_figures.py --out=runs/main_figures --summary

Runs like those of main_openmoji.py, in the same order: both tasks with and without LISA, two more seeds, other learning
rates, then pose with other lam, hooks, schedules and decoders. Sized for two CPU cores.
"""

from pathlib import Path
from runpy import run_path

from ml_collections import ConfigDict

# By its place, so that the config can be read from any working directory.
_SHARED = run_path(str(Path(__file__).with_name("main_openmoji.py")))

TASKS = ("pose", "depth")


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    return _SHARED["main_study"]("figures", "figures_base", TASKS)
