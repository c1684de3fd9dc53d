"""Where does LISA help? Tasks, learning rates, lam, hooks and schedules on OpenMoji at 32 px, three seeds.

    python -m lisa_jax study --config=configs/studies/openmoji_regimes.py --out=runs/openmoji_regimes
    python -m lisa_jax study --config=configs/studies/openmoji_regimes.py --out=runs/openmoji_regimes --summary

58 runs, 71,200 steps of 64 drawings, most important first: interrupt it as you like. One H100 does a plain step in
7.4 ms in float32; all of it should take about twenty minutes there. Needs a GPU: two CPU cores take about two seconds
a step. What the first 14 runs gave is in docs/results.md.
"""

from pathlib import Path

from ml_collections import ConfigDict

import lisa_jax


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = ConfigDict()
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / "openmoji_base")
    config.image_size = 32
    config.condition_channels = (32,)
    config.frozen_dtype = "float32"
    # Training steps that one compiled call does; on CPU a loop around them makes them slower, so use 1 there.
    config.chunk = 25
    config.validate_every = 50
    config.sample_every = 400
    config.sample_at = (100, 200)
    # The test split, `draws` times under fixed noise; gradients of its first `probe` drawings.
    config.validation = ConfigDict({"draws": 4, "probe": 64})
    config.num_samples = 128
    config.sampling = ConfigDict({"num_steps": 20, "guidance_scale": 1.0})
    config.optimizer = ConfigDict(
        {"warmup_steps": 20, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-2, "clip_norm": 1.0}
    )
    config.defaults = ConfigDict(
        {
            "task": "lineart",
            "lam": 0.2,
            "hook": "down_3",
            "learning_rate": 1e-3,
            "seed": 0,
            "batch_size": 64,
            "num_steps": 800,
        }
    )
    both = (0.0, 0.2)
    slow = {"learning_rate": 1e-4, "num_steps": 1600}
    others = ("lowres", "segmentation")
    # Most important first: a study that is cut short is still one. A cell that comes again is not run again.
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
