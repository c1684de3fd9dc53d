"""A ControlNet for segmentation maps on OpenMoji at 32 px beside the embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/openmoji_segmentation.py --workdir=runs/segmentation

The map says which of a drawing's layers is on top: line, skin, hair or another colour. Everything else is as in
openmoji_lineart.py.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import openmoji_lineart


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = openmoji_lineart.get_config()
    config.data.condition = "lisa_jax.data.embedded.openmoji.layer_classes:segmentation"
    return config
