"""A ControlNet for depth on rendered people at 32 px beside their embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/figures_depth.py --workdir=runs/depth

The condition is the inverse distance, white where nearest. Everything else is as in figures_pose.py.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import figures_pose


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = figures_pose.get_config()
    config.data.condition = "depth"
    return config
