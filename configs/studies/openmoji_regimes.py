"""Where does LISA help? Tasks, learning rates, lam, hooks and schedules on OpenMoji at 32 px, three seeds.

    python -m lisa_jax study --config=configs/studies/openmoji_regimes.py --out=runs/openmoji_regimes
    python -m lisa_jax study --config=configs/studies/openmoji_regimes.py --out=runs/openmoji_regimes --summary

58 runs, 71,200 steps of 64 drawings, most important first: interrupt it as you like. Needs a GPU: two CPU cores take
about two seconds a step. What the first 14 runs gave, on an H100, is in docs/results.md.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from lisa_jax.configs.studies import base


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = base.study("openmoji", "openmoji_base", "lineart", title="learning rates, weights and hooks")
    config.sample_at = (100, 200)
    config.training.update(preview_every=400, preview_count=128)
    config.training.sampling.update(num_steps=20, batch_size=128)
    config.validation = ConfigDict({"draws": 4, "num_examples": placeholder(int), "probe": 64})
    config.extractor.name = ""
    config.defaults.update(batch_size=64, num_steps=800)
    both = (0.0, 0.2)
    slow = {"learning_rate": 1e-4, "num_steps": 1600}
    others = ("lowres", "segmentation")
    config.grids = tuple(
        ConfigDict(grid)
        for grid in (
            {"lam": both},
            {"lam": both, **slow},
            {"learning_rate": (3e-3, 3e-4), "lam": both},
            {"task": others, "lam": both},
            {"seed": (1, 2), "lam": both},
            {"seed": (1, 2), "lam": both, **slow},
            {"lam": (1.0,), **slow},
            {"task": others, "lam": both, **slow},
            {"seed": (1, 2), "task": others, "lam": both},
            {"lam": (1.0,)},
            {"hook": ("mid", "down_5", "down_1", "down_0"), **slow},
            {"seed": (1, 2), "task": others, "lam": both, **slow},
            {"task": others, "learning_rate": (3e-3, 3e-4), "lam": both},
            {"lam": (5.0,), **slow},
            {"lam": (1.0,), "lam_stop_step": 400, **slow},
            {"lam": both, "learning_rate": 3e-5, "num_steps": 3200},
        )
    )
    return config
