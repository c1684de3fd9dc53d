"""Whether alignment helps where the decoder is ahead: line art, a slow side network, a decoder that learns faster.

    python -m lisa_jax study --config=configs/studies/fast_decoder.py --out=runs/fast_decoder

At a learning rate of 1e-4 the control opens slowly; the decoder has 1, 10 or 30 times that rate. Two seeds, 400
steps of 16 drawings, else as main_openmoji.py; each run takes some six minutes of a CPU core.
"""

from ml_collections import ConfigDict

from lisa_jax.configs.studies import base


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = base.study("openmoji", "openmoji_base", "lineart", title="faster decoders")
    config.defaults.update(learning_rate=1e-4, num_steps=400)
    config.grids = tuple(
        ConfigDict(grid)
        for seed in (0, 1)
        for grid in (
            {"seed": seed, "lam": 0.0},
            {"seed": seed, "decoder_rate": (10.0, 1.0, 30.0)},
        )
    )
    return config
