"""Every field of `lisa_jax study`, and what it means. No study itself: those start from here.

The values are sized for two CPU cores.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import lisa_jax
from lisa_jax.configs.base import control


def study(data: str, base: str, task: str, *, title: str = "", flip: bool = True) -> ConfigDict:
    """A study without runs.

    Args:
      data: name of the data set, openmoji or figures.
      base: folder of the base in the package's assets.
      task: of the runs that name none.
      title: what readers of a report know it by.
      flip: whether training mirrors pictures; not where a condition's colours tell left from right.
    """
    config = ConfigDict()
    # A few words, which a report puts where it tells this study from others; empty: it takes what they differ in.
    config.title = title
    # What the runs share: a config of `lisa_jax train`, of which each changes what its cell says. A point of its curve
    # comes every eval_every steps, and every preview_every of them the first preview_count test examples are sampled.
    config.training = training(data, base, flip=flip)
    config.sample_at = (50,)  # and after so many steps
    config.validation = ConfigDict(
        {
            "draws": 1,  # times that each example is seen, under fixed noise
            "num_examples": 128,  # the first of the test split; unset: all
            "probe": 16,  # the first of them, whose gradients are compared
        }
    )
    # Distances of samples to training pictures by this network: one of `lisa_jax.evaluation.extractors`, "" for none.
    # Weights: a file, "" for those of the package in the extra `quality`.
    config.extractor = ConfigDict({"name": "effnet_lite0", "weights": ""})
    # Whether to keep the trained networks (7 MB a run), for probes of their features.
    config.save_side = False
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


def training(data: str, base: str, *, flip: bool) -> ConfigDict:
    """What the runs share, see `study`."""
    config = control()
    config.update(accumulate=1, frozen_dtype="float32", compute_dtype="float32", condition_channels=(32,))
    config.update(eval_every=50, preview_every=100, preview_count=64)
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / base)
    config.data = ConfigDict({"name": data, "image_size": 32, "flip": flip})
    config.optimizer.warmup_steps = 20
    config.sampling.update(sampler="ddim", num_steps=10, guidance_scale=1.0, batch_size=64)
    return config


def grids(*fields: dict[str, Any]) -> tuple[ConfigDict, ...]:
    """Grids as a study's config has them."""
    return tuple(map(ConfigDict, fields))
