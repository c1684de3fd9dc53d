"""A ControlNet for super-resolution on OpenMoji at 32 px beside the embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_lowres.py --workdir=runs/lowres

The condition is the drawing at 8 px, enlarged again. Everything else is as in openmoji_lineart.py.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import openmoji_lineart


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = openmoji_lineart.get_config()
    config.data.condition = "lowres"
    return config
