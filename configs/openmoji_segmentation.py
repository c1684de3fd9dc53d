"""A ControlNet for segmentation maps on OpenMoji at 32 px beside the embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_segmentation.py --workdir=runs/segmentation

The map says which of a drawing's layers is on top: line, skin, hair or another colour. Everything else is as in
openmoji_lineart.py.
"""

from pathlib import Path
from runpy import run_path

from ml_collections import ConfigDict

# By its place, so that the config can be read from any working directory.
_LINEART = run_path(str(Path(__file__).with_name("openmoji_lineart.py")))


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = _LINEART["get_config"]()
    config.data.condition = "lisa_jax.data.embedded.openmoji.layer_classes:segmentation"
    return config
