r"""A plain ControlNet of videos beside Stable Video Diffusion: svd_lisa.py without the alignment loss.

    python -m lisa_jax train --config=configs/svd_baseline.py:pose --workdir=runs/svd_baseline_pose --config.base=DIR

The argument is the task, and perhaps `,smoke`, as there; it takes that config's data.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import svd_lisa


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    config = svd_lisa.get_config(argument)
    config.lisa.lam = 0.0
    return config
