"""Why ControlNets wait, on figures at 32 px: pose and depth, in the order of fresh_layers_openmoji.py.

    python -m lisa_jax study --config=configs/studies/fresh_layers_figures.py --out=runs/fresh_figures
    python -m lisa_jax study --config=configs/studies/fresh_layers_figures.py --out=runs/fresh_figures --summary

What its runs gave is in docs/results.md, what it means in docs/why_controlnets_wait.md.
"""

from ml_collections import ConfigDict

from lisa_jax.configs.studies.fresh_layers_openmoji import fresh_layers_study

TASKS = ("pose", "depth")


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    # The skeleton's colours tell left from right.
    return fresh_layers_study("figures", "figures_base", TASKS, flip=False)
