"""Pictures of a run's splits, to probe on."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from lisa_jax.data.pipeline import Batches
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.experiments.splits import Split
from lisa_jax.parallel.compiling import Announced
from lisa_jax.probing.pictures import BATCH_SIZE, COUNTS, Pictures, ProbePictures, probe_pictures


def split_pictures(split_of: Callable[[str], Split]) -> ProbePictures:
    """The pictures that a run is probed on; `split_of` gives its train and test split by name.

    Raises:
      ValueError: as `ProbePictures`, for a data set of too few pictures.
    """
    train, test = (_pictures(split_of(name), name) for name in ("train", "test"))
    return probe_pictures(train, test)


def _pictures(split: Split, name: str) -> Pictures:
    """Pictures of a split as training reads them, but never mirrored and with all captions; shuffled, always alike.

    Where pictures have several sizes, all are of one of them.
    """
    count = min(COUNTS[name], len(split.source))
    batch = Batches(split.source, split.make_inputs, count, seed=0).batch_at(0)
    # A batch that is larger than its bucket of sizes has pictures twice.
    _, first = np.unique(batch["index"], return_index=True)
    first.sort()
    inputs, frozen = jax.tree.map(lambda rows: rows[first], batch["inputs"]), split.frozen()
    encode = Announced(
        partial(model_inputs, family=split.family, empty=split.empty, caption_dropout=0.0),
        "the inputs of pictures",
        position=0,
    )
    encoded = []
    for number, start in enumerate(range(0, len(first), BATCH_SIZE)):
        rows = jax.tree.map(lambda leaf, start=start: leaf[start : start + BATCH_SIZE], inputs)
        key = jax.random.fold_in(jax.random.key(0), number)
        encoded.append(jax.tree.map(np.asarray, encode(rows, key, frozen)))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *encoded)
    return Pictures(name, batch["index"][first], **whole)
