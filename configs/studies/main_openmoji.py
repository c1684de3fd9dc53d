"""The main study on OpenMoji at 32 px: plain training against LISA, four tasks, three seeds, and LISA taken apart.

    python -m lisa_jax study --config=configs/studies/main_openmoji.py --out=runs/main_openmoji
    python -m lisa_jax study --config=configs/studies/main_openmoji.py --out=runs/main_openmoji --summary

Runs of 300 steps of 16 drawings, sized for two CPU cores; the most important come first, so that a study that is cut
short is still one: every task with and without LISA, the same with two more seeds, both arms at other learning rates,
line art with other lam, hooks, schedules and decoders, and line art at a rate so small that its start is slow.
Interrupt it as you like; a cluster's array task does one run with --cell=N. A plain step takes .6 s of an idle
core and a LISA step .7; a run, measuring included, four to five minutes, compiling four more.
"""

from pathlib import Path

from ml_collections import ConfigDict

import lisa_jax

TASKS = ("lineart", "segmentation", "lowres", "lineart+lowres")
SEEDS = (0, 1, 2)


def get_config() -> ConfigDict:
    """Config of `lisa_jax study`."""
    config = main_study("openmoji", "openmoji_base", TASKS)
    config.grids = (
        *config.grids,
        # A slow start, as on large models: here the decoder is ahead of the controlled network for a while.
        ConfigDict({"learning_rate": 3e-5, "num_steps": 1000, "lam": (0.0, 0.2)}),
        # The task on which alignment has shown most: more seeds, and more weight.
        *(ConfigDict({"task": "lowres", "seed": seed, "lam": (0.0, 0.2)}) for seed in (3, 4)),
        ConfigDict({"task": "lowres", "seed": SEEDS, "lam": 1.0}),
    )
    return config


def main_study(data: str, base: str, tasks: tuple[str, ...]) -> ConfigDict:
    """The study of a data set.

    Args:
      data: name of the data set.
      base: folder of the base in the package's assets.
      tasks: the most important first; the first one is used to take LISA apart.
    """
    config = ConfigDict()
    config.data = data
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / base)
    config.image_size = 32
    config.condition_channels = (32,)
    config.frozen_dtype = "float32"
    # Training steps that one compiled call does: one, for on CPU a loop around them makes them six times slower.
    config.chunk = 1
    config.validate_every = 50
    config.sample_every = 100
    config.sample_at = (50,)
    # The first test examples, `draws` times under fixed noise; gradients of the first `probe`.
    config.validation = ConfigDict({"draws": 1, "num_examples": 128, "probe": 16})
    config.num_samples = 64
    config.sampling = ConfigDict({"num_steps": 10, "guidance_scale": 1.0})
    # Distances of samples to training pictures by this network: one of `lisa_jax.evaluation.extractors`, "" for none.
    # Weights: a file, "" for those of the package in the extra `quality`.
    config.extractor = ConfigDict({"name": "effnet_lite0", "weights": ""})
    # Whether to keep the trained networks (7 MB a run), for probes of their features.
    config.save_side = False
    config.optimizer = ConfigDict(
        {"warmup_steps": 20, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-2, "clip_norm": 1.0}
    )
    config.defaults = ConfigDict(
        {
            "task": tasks[0],
            "lam": 0.2,
            "hook": "down_3",
            "learning_rate": 1e-3,
            "seed": SEEDS[0],
            "batch_size": 16,
            "num_steps": 300,
        }
    )
    both = (0.0, 0.2)
    config.grids = tuple(
        ConfigDict(grid)
        for grid in (
            *({"seed": seed, "task": task, "lam": both} for seed in SEEDS for task in tasks),
            *({"learning_rate": rate, "task": task, "lam": both} for rate in (3e-4, 3e-3) for task in tasks[:3]),
            {"lam": (0.05, 1.0)},
            {"hook": ("mid", "down_1", "down_5", "down_3,mid")},
            {"lam_stop_step": 100},
            {"align_every": 4, "seed": SEEDS},
            {"decoder_width": 2.0},
            {"weighting": ("likelihood_score", "high_noise", "low_noise")},
        )
    )
    return config
