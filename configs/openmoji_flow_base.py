"""The embedded flow base: a small text-conditional transformer on OpenMoji at 32 px, trained as a rectified flow.

python -m lisa_jax pretrain --config=configs/openmoji_flow_base.py --workdir=runs/openmoji_flow_base
"""

from ml_collections import ConfigDict

from lisa_jax.configs import openmoji_base


def get_config() -> ConfigDict:
    """Config of `lisa_jax pretrain`."""
    config = openmoji_base.get_config()
    with config.unlocked():
        del config.unet
    config.num_steps = 2600
    config.transformer = ConfigDict({"num_layers": 6, "heads": 5, "head_dim": 32, "patch_size": 4})
    # Of each of the two encoders; the transformer reads them side by side.
    config.text.width = 32
    config.scheduler = ConfigDict({"shift": 1.0})
    config.sampling.sampler = "euler"
    return config
