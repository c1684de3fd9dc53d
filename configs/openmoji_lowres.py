"""A ControlNet for super-resolution on OpenMoji at 32 px beside the embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_lowres.py --workdir=runs/lowres

The condition is the drawing at 8 px, enlarged again. Everything else is as in openmoji_lineart.py.
"""

from pathlib import Path
from runpy import run_path

from ml_collections import ConfigDict

# By its place, so that the config can be read from any working directory.
_LINEART = run_path(str(Path(__file__).with_name("openmoji_lineart.py")))


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = _LINEART["get_config"]()
    config.data.condition = "lowres"
    return config
