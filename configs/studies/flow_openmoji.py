"""Plain training against LISA beside a flow transformer: line art on OpenMoji at 32 px, three seeds.

    python -m lisa_jax study --config=configs/studies/flow_openmoji.py --out=runs/flow_openmoji
    python -m lisa_jax study --config=configs/studies/flow_openmoji.py --out=runs/flow_openmoji --summary

Six runs of 300 steps of 16 drawings, a pair after the other: each takes four to eight minutes of a CPU core, measuring
included. Found (docs/results.md): loss .0837 plain, .0827 LISA, lower in all three seeds by about a hundredth; F1 of
lines .817 and .813, no difference.
"""

from ml_collections import ConfigDict

from lisa_jax.configs import openmoji_flow_lineart
from lisa_jax.configs.studies import base


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = base.study("openmoji", "openmoji_flow_base", "lineart", title="flow transformer")
    config.training.condition_channels = openmoji_flow_lineart.get_config().condition_channels
    config.training.sampling.sampler = "euler"
    config.defaults.hook = "block_1"
    config.grids = base.grids(*({"seed": seed, "lam": (0.0, 0.2)} for seed in (0, 1, 2)))
    return config
