"""Every field of `lisa_jax study`, and what it means. No study itself: those start from here.

The values are sized for two CPU cores.
"""

from pathlib import Path

from ml_collections import ConfigDict

import lisa_jax


def study(data: str, base: str, task: str) -> ConfigDict:
    """A study without runs.

    Args:
      data: name of the data set, openmoji or figures.
      base: folder of the base in the package's assets.
      task: of the runs that name none.
    """
    config = ConfigDict()
    config.data = data
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / base)
    config.image_size = 32
    config.condition_channels = (32,)  # widths of the condition's encoder
    config.frozen_dtype = "float32"
    # Training steps that one compiled call does: one, for on CPU a loop around them makes them six times slower.
    config.chunk = 1
    config.validate_every = 50
    config.sample_every = 100
    config.sample_at = (50,)  # and after so many steps
    config.validation = ConfigDict(
        {
            "draws": 1,  # times that each example is seen, under fixed noise
            "num_examples": 128,  # the first of the test split; unset: all
            "probe": 16,  # the first of them, whose gradients are compared
        }
    )
    config.num_samples = 64
    config.sampling = ConfigDict({"num_steps": 10, "guidance_scale": 1.0})
    # Distances of samples to training pictures by this network: one of `lisa_jax.evaluation.extractors`, "" for none.
    # Weights: a file, "" for those of the package in the extra `quality`.
    config.extractor = ConfigDict({"name": "effnet_lite0", "weights": ""})
    # Whether to keep the trained networks (7 MB a run), for probes of their features.
    config.save_side = False
    # What all runs share of the optimizer; see `configs.base.optimizer`.
    config.optimizer = ConfigDict(
        {"warmup_steps": 20, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-2, "clip_norm": 1.0}
    )
    # Fields of `lisa_jax.studies.grid.Cell` that a grid leaves out.
    config.defaults = ConfigDict(
        {
            "task": task,
            "lam": 0.2,
            "hook": "down_3",
            "learning_rate": 1e-3,
            "seed": 0,
            "batch_size": 16,
            "num_steps": 300,
        }
    )
    # Tuples of values are crossed. The most important first: a study that is cut short is still one, and a cell that
    # comes again is not run again.
    config.grids = ()
    return config
