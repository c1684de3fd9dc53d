"""A config file of a study of the embedded drawings that takes seconds."""

CONFIG = """
from ml_collections import ConfigDict

from lisa_jax.configs.studies import openmoji_regimes


def get_config():
    config = openmoji_regimes.get_config()
    config.training.update({{"base": {base!r}, "condition_channels": (8,), "eval_every": 2, "preview_every": 4}})
    config.training.data.image_size, config.training.preview_count = 16, 3
    config.training.sampling.num_steps = 1
    config.validation.update({{"draws": 1, "probe": 2}})
    config.sample_at = ()
    config.save_side = {save_side}
    config.defaults.update({defaults!r})
    config.grids = (ConfigDict({grid!r}),)
    return config
"""


def study_file(*, base: str, defaults: dict, grid: dict, save_side: bool = False) -> str:
    """Its text: cells of `grid` beside the base in a folder; `save_side` keeps the trained networks."""
    return CONFIG.format(base=base, defaults=defaults, grid=grid, save_side=save_side)
