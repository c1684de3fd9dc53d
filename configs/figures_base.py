"""The embedded base for figures: the small UNet of openmoji_base.py, on rendered people at 32 px.

    python -m lisa_jax pretrain --config=configs/figures_base.py --workdir=runs/figures_base

3,000 steps of 16 pictures: 45 minutes on two CPU cores that had other work to do; the main loss ends at .075, which is
.135 of the target's power. Writes the folder runs/figures_base/base; the one that ships as
lisa_jax/assets/figures_base was made so.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import openmoji_base


def get_config() -> ConfigDict:
    """Config of `lisa_jax pretrain`."""
    config = openmoji_base.get_config()
    config.num_steps = 3000
    # A mirrored pose would have its left limbs in the colours of right ones.
    config.data.update(name="figures", flip=False)
    config.text.max_length = 24
    return config
