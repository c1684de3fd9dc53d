"""A condition's encoder nearly as deep as Stable Diffusion's, beside the drawings of OpenMoji.

    python -m lisa_jax study --config=configs/studies/deep_encoder.py --out=runs/deep_encoder
    python -m lisa_jax study --config=configs/studies/deep_encoder.py --out=runs/deep_encoder --summary

Before its last, zero layer the encoder of the embedded bases has one convolution, that of a real ControlNet seven, and
PyTorch's default shrinks the condition at each. Here it has five, with the real widths but for the last, and every
pixel of the condition is repeated to 4 x 4 before them: seven would cost a CPU too much. 1e-4, 400 steps of 16
drawings, some seven minutes of a CPU core each. docs/why_controlnets_wait.md says what came out.
"""

from ml_collections import ConfigDict

from lisa_jax.configs.studies import base
from lisa_jax.configs.studies.base import grids


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = base.study("openmoji", "openmoji_base", "lineart", title="deep encoder of the condition")
    config.training.update(eval_every=25, preview_every=200, condition_channels=(16, 32, 96))
    config.sample_at = ()
    config.defaults.update(lam=0.0, learning_rate=1e-4, num_steps=400)
    best = {"learning_rate": 1e-3, "num_steps": 300}
    config.grids = grids(
        {"condition_init": ("zero", "preserving")},
        {"lam": 0.2},
        {"eps": 1e-12},
        {"fresh_rate": 10.0, "condition_init": "preserving"},
        {"condition_init": ("zero", "preserving"), **best},
        {"seed": 1, "condition_init": ("zero", "preserving")},
        {"fresh_rate": 10.0},
        {"seed": 2, "condition_init": ("zero", "preserving")},
        {"lam": 0.2, "condition_init": "preserving"},
        *({"seed": seed, "condition_init": ("zero", "preserving"), **best} for seed in (1, 2)),
    )
    return config
