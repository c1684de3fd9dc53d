"""Two ControlNets trained together, for line art and low resolution, on OpenMoji at 32 px, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_lineart_lowres.py --workdir=runs/lineart_lowres

The main network gets the sum of their residuals, and what their decoders say is summed likewise. Everything else is as
in openmoji_lineart.py.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import openmoji_lineart


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = openmoji_lineart.get_config()
    # Several names: one side network each.
    with config.ignore_type():
        config.data.condition = ("lineart", "lowres")
    return config
