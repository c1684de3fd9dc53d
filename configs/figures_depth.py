"""A ControlNet for depth on rendered people at 32 px beside their embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/figures_depth.py --workdir=runs/depth

The condition is the inverse distance, white where nearest. Everything else is as in figures_pose.py.
"""

from pathlib import Path
from runpy import run_path

from ml_collections import ConfigDict

# By its place, so that the config can be read from any working directory.
_POSE = run_path(str(Path(__file__).with_name("figures_pose.py")))


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = _POSE["get_config"]()
    config.data.condition = "depth"
    return config
