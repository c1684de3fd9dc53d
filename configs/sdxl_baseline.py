r"""A plain ControlNet beside Stable Diffusion XL at 1024 px: sdxl_lisa.py without the alignment loss.

    python -m lisa_jax train --config=configs/sdxl_baseline.py:pose --workdir=runs/sdxl_baseline_pose --config.base=DIR

The argument is the task, and perhaps `,smoke`, as there; it takes that config's data. Weights and optimizer are as
large as there: what fits stands there. Operations: 20,045 GFLOP an image.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import sdxl_lisa


def get_config(argument: str = "") -> ConfigDict:
    """Config of `lisa_jax train`; the argument is a task, pose by default, and perhaps `,smoke`."""
    config = sdxl_lisa.get_config(argument)
    config.lisa.lam = 0.0
    return config
