"""Two ControlNets trained together, for line art and low resolution, on OpenMoji at 32 px, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_lineart_lowres.py --workdir=runs/lineart_lowres

The main network gets the sum of their residuals, and what their decoders say is summed likewise. Everything else is as
in openmoji_lineart.py.
"""

from pathlib import Path
from runpy import run_path

from ml_collections import ConfigDict

# By its place, so that the config can be read from any working directory.
_LINEART = run_path(str(Path(__file__).with_name("openmoji_lineart.py")))


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = _LINEART["get_config"]()
    # Several names: one side network each.
    with config.ignore_type():
        config.data.condition = ("lineart", "lowres")
    return config
