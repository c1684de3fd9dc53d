"""The embedded flow base: a small text-conditional transformer on OpenMoji at 32 px, a rectified flow, from scratch.

    python -m lisa_jax pretrain --config=configs/openmoji_flow_base.py --workdir=runs/openmoji_flow_base

6 blocks of width 160 over patches of 4 x 4 pixels, 5.4 million parameters; a pass takes .32 GFLOP a drawing, that of
the UNet of openmoji_base.py .86. 2,600 steps of 16 drawings: 35 minutes of one CPU core that had other work to do; the
main loss ends at .171, which is .095 of the target's power. Samples have the colours of drawings and blurred shapes, in
which the seams of the patches can be seen. Writes the folder runs/openmoji_flow_base/base; the one that ships as
lisa_jax/assets/openmoji_flow_base was made so, but for its first 1,151 steps, whose rate fell as towards 4,500.
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
