"""A ControlNet for poses on rendered people at 32 px beside their embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/figures_pose.py --workdir=runs/pose

The condition is the skeleton as OpenPose draws it. Everything else is as in openmoji_lineart.py.
"""

from pathlib import Path

from ml_collections import ConfigDict

import lisa_jax
from lisa_jax.configs import openmoji_lineart


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = openmoji_lineart.get_config()
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / "figures_base")
    # A mirrored pose would have its left limbs in the colours of right ones.
    config.data.update(name="figures", condition="pose", flip=False)
    return config
