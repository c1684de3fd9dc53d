"""The pictures that probes are fitted and tested on, as the model reads them."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import Tree
from lisa_jax.parallel.compiling import Announced
from lisa_jax.sampling.noise import initial_noise

PARTS = ("fit", "validation", "test")
# How many of each split are probed on, where it has so many.
COUNTS = {"train": 192, "test": 96}
VALIDATION_SHARE = 0.25
BATCH_SIZE = 16


_noise = Announced(initial_noise, "the noise of pictures", position=1, static_argnames="shape")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Clean examples of one split.

    Attributes:
      split: "train" or "test"; decides, with an example's index, which noise it gets.
      index: int32 (n,), the examples' places in the split.
      latents: float32 (n, h, w, c), in model space.
      context: a tree of arrays (n, ...).
      condition: what each side network sees, float32 (n, *space, c) by name.
    """

    split: str
    index: np.ndarray
    latents: np.ndarray
    context: Tree
    condition: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, chosen: Any) -> "Pictures":
        """Some of the pictures, by place or slice."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "split"}
        return Pictures(self.split, **jax.tree.map(lambda leaf: leaf[chosen], values))

    def inputs(self) -> dict[str, Any]:
        """What the loss reads."""
        inputs = {"latents": self.latents, "context": self.context, "condition": self.condition}
        return jax.tree.map(jnp.asarray, inputs)

    def noise(self, level: int) -> jax.Array:
        """Noise like the latents, always the same for an example and the number of a noise level."""
        return _noise(2 * level + (self.split == "test"), self.index, shape=self.latents.shape[1:])

    def batches(self) -> Iterator["Pictures"]:
        """By BATCH_SIZE, in order; the last may be smaller."""
        for start in range(0, len(self), BATCH_SIZE):
            yield self.rows(slice(start, start + BATCH_SIZE))


@dataclasses.dataclass(frozen=True)
class ProbePictures:
    """Pictures by what they are for. `fit` and `validation` are of the training split, `test` of the test split.

    Raises:
      ValueError: pictures of the test split to fit on, or of the training split to test on; a picture that is there
        twice; or fewer than two for a part.
    """

    fit: Pictures
    validation: Pictures
    test: Pictures

    def __post_init__(self) -> None:
        for part in PARTS:
            pictures = getattr(self, part)
            wanted = "test" if part == "test" else "train"
            if pictures.split != wanted:
                raise ValueError(f"Pictures for {part} are of the {wanted} split, but these are of {pictures.split}.")
            if len(pictures) < 2:
                raise ValueError(f"Probes need at least 2 pictures for {part}, but there are {len(pictures)}.")
        for split, index in (("train", [*self.fit.index, *self.validation.index]), ("test", self.test.index)):
            if len(np.unique(index)) != len(index):
                raise ValueError(f"A picture of the {split} split is there twice: every picture may count once.")

    def counts(self) -> dict[str, int]:
        """Number of pictures by part."""
        return {part: len(getattr(self, part)) for part in PARTS}


def probe_pictures(train: Pictures, test: Pictures) -> ProbePictures:
    """The last quarter of the training pictures, which come shuffled, is for validation."""
    border = len(train) - int(VALIDATION_SHARE * len(train))
    return ProbePictures(train.rows(slice(border)), train.rows(slice(border, None)), test)
