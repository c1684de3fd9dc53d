"""The picture of a model card: a grid of samples beside their conditions."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_jax.experiments.bounds import SHOWN
from lisa_jax.experiments.kinds import require
from lisa_jax.experiments.saved_run import TrainedRun
from lisa_jax.experiments.splits import load_split
from lisa_jax.media import image
from lisa_jax.sampling.generate import make_generator


def card_picture(
    run: TrainedRun, workdir: str | Path, samples: str | None, trusted: Collection[str] = ()
) -> Image.Image | None:
    """The picture for the model card of a run.

    Args:
      run: a training run, read back.
      workdir: its directory.
      samples: a picture's file; or a number of test examples to sample now; None: the newest preview of the run, if it
        drew one.
      trusted: as of `load_split`, where samples are made.

    Raises:
      ValueError: there is no such file, it is no picture, or a number below 1.
    """
    if samples is None:
        newest = newest_preview(workdir, run.step)
        return None if newest is None else Image.fromarray(image.read(newest))
    if not samples.isdecimal():
        return Image.fromarray(image.read(Path(samples)))
    require("--samples", int(samples), SHOWN)
    return Image.fromarray(sample_grid(run, int(samples), trusted))


def newest_preview(workdir: str | Path, step: int) -> Path | None:
    """The newest preview of a run up to `step`, or None."""
    found = sorted((Path(workdir) / "previews").glob("samples_*.png"))
    until = [path for path in found if int(path.stem.rpartition("_")[2]) <= step]
    return until[-1] if until else None


def sample_grid(run: TrainedRun, count: int, trusted: Collection[str] = ()) -> np.ndarray:
    """Sample the first `count` test examples with the run's own settings, uint8 (H, W, 3): conditions, sample, real."""
    family, split = run.family, load_split(run.config, run.family, "test", trusted)
    batch = next(split.ordered_batches(count))
    generate, conditions = make_generator(family, **run.config.sampling), split.conditions(batch)
    samples = generate(
        family.frozen, family.latents.params, run.side, split.contexts(batch), conditions, batch["index"]
    )
    columns = {**conditions, "sample": samples, "reference": split.references(batch)}
    return family.medium.sheet(columns, blocks=4)
