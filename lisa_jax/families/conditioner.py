"""What the main network knows of an example: captions, or whatever else a family reads of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.parallel.compiling import Announced

# Examples whose conditioning is encoded at a time.
ENCODE_BATCH = 64
# And where that takes pixels of theirs.
ENCODE_PICTURES = 8
# What an example tells of its picture: (height, width) as it is and as it was, (top, left) of the crop in between. Of a
# caption alone there is nothing to tell.
NO_PICTURE = {"size": (0, 0), "original_size": (0, 0), "crop": (0, 0)}


@dataclasses.dataclass(frozen=True)
class Conditioner:
    """Everything that the main network knows of an example, apart from its noisy latents: its context.

    Attributes:
      load_params: reads the encoders' weights; called once, at the first use of `params`, so that training on cached
        contexts never holds them.
      read: examples, mappings with a `caption` and whatever else a family needs (see `NO_PICTURE`) -> what `encode`
        takes, a tree of host arrays (n, ...): ids of one to three tokenizers, sizes and crops, a first frame.
      encode: (params, that tree) -> context, a tree of arrays (n, ...).
      null: (context of n rows, context of the empty caption, n rows or 1) -> the context without its caption, n rows:
        it takes the place of the context where captions are dropped, and guidance leads away from it where there is no
        negative prompt.
      shapes: shape and dtype of every leaf of a context, without n; or where they depend on the size of an example, a
        function of it, see `shapes_at`.
      cuts: examples -> of each, whether `read` leaves out the end of its caption; None where it never does.
      kept: names of a context's parts that are not of the caption: another caption leaves them as they are.
      sees_pictures: whether `read` takes pixels of the example, such as its `first_frame`, uint8 (H, W, 3).
      asked: context of examples -> what is asked for when pictures like them are to be made, where that is another
        context: nobody knows how a picture that is still to be made was cropped. None where it is the same.
      reads_captions: whether it reads captions at all.
      draw: (parameters of the latent space, context, a key a row, training=) -> the context that the networks see, as
        `LatentSpace.sample` of moments: what each step of training draws anew, and sampling once. `shapes` and what is
        cached are of the context before, what `null` takes of the one after. None where nothing is drawn.
      drops: names of a context's parts that are dropped together, for each kind of dropout; all kinds are as likely.
        (): there is one, of the whole context.
    """

    load_params: Callable[[], Params]
    read: Callable[[Sequence[Mapping[str, Any]]], Tree]
    encode: Callable[[Params, Tree], Tree]
    null: Callable[[Tree, Tree], Tree]
    shapes: Tree | Callable[[tuple[int, ...]], Tree]
    cuts: Callable[[Sequence[Mapping[str, Any]]], Sequence[bool]] | None = None
    kept: tuple[str, ...] = ()
    sees_pictures: bool = False
    asked: Callable[[Tree], Tree] | None = None
    reads_captions: bool = True
    draw: Callable[..., Tree] | None = None
    drops: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def params(self) -> Params:
        """The encoders' weights."""
        return self.load_params()

    def shapes_at(self, size: tuple[int, ...]) -> Tree:
        """Shape and dtype of every leaf of a context, without n, of an example of (H, W) or (F, H, W)."""
        return self.shapes(size) if callable(self.shapes) else self.shapes

    @cached_property
    def empty(self) -> Tree:
        """Context of the empty caption, a tree of numpy arrays (1, ...); {} where no captions are read."""
        return self.of_captions([""]) if self.reads_captions else {}

    def of_captions(self, captions: Sequence[str]) -> Tree:
        """Contexts of captions that are of no picture, a tree of numpy arrays (n, ...).

        Raises:
          ValueError: no captions are read.
        """
        if not self.reads_captions:
            raise ValueError("This base reads no captions: give no negative_prompt.")
        return self.contexts([{"caption": caption, **NO_PICTURE} for caption in captions])

    def recaptioned(self, context: Tree, other: Tree) -> Tree:
        """A context of n rows with the captions of another one, of n rows or 1, in place of its own."""
        replaced = jax.tree.map(lambda leaf, of_other: np.broadcast_to(of_other, leaf.shape), context, other)
        return replaced | {name: context[name] for name in self.kept} if self.kept else replaced

    def negatives(self, context: Tree, prompts: Sequence[str]) -> Tree | None:
        """What guidance leads away from: a context with a negative prompt a row, and where that is empty `null`.

        None where no captions are read, and thus ValueError for a negative prompt.
        """
        if not self.reads_captions and not any(prompts):
            return None
        negative = self.recaptioned(context, self.of_captions(prompts))
        absent = np.array([not prompt for prompt in prompts])

        def choose(leaf: np.ndarray, null: jax.Array) -> np.ndarray:
            return np.where(absent.reshape(-1, *(1,) * (leaf.ndim - 1)), null, leaf)

        return jax.tree.map(choose, negative, self.null(context, self.empty))

    def contexts(self, examples: Sequence[Mapping[str, Any]], at_once: int | None = None) -> Tree:
        """Contexts of examples, a tree of numpy arrays (n, ...); `at_once` of them are encoded together."""
        at_once = at_once or (ENCODE_PICTURES if self.sees_pictures else ENCODE_BATCH)
        chunks, params = [], jax.device_put(self.params)
        for start in range(0, len(examples), at_once):
            rows = self.read(examples[start : start + at_once])
            count = len(jax.tree.leaves(rows)[0])
            # Filled up with zeros to one size, so that one compiled program serves all.
            filled = jax.tree.map(lambda leaf: _filled_up(leaf, at_once), rows)
            encoded = self._jitted_encode(params, filled)
            chunks.append(jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], encoded))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *chunks)

    def placed(self) -> "Conditioner":
        """The same with its weights on a device as long as it lives; else each call of `contexts` puts them there."""
        return dataclasses.replace(self, load_params=lambda: jax.device_put(self.params))

    @cached_property
    def _jitted_encode(self) -> Callable[[Params, Tree], Tree]:
        return Announced(self.encode, "the encoder of contexts", position=1)


def _filled_up(leaf: np.ndarray, size: int) -> np.ndarray:
    return np.pad(leaf, ((0, size - len(leaf)), *((0, 0) for _ in leaf.shape[1:])))
