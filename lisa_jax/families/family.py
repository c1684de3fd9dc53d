"""What a family gives: a dual-branch model with its frozen weights, its latents, its text and its noise process."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.processes import Process

TEXT_BATCH = 64


@dataclasses.dataclass(frozen=True)
class LatentSpace:
    """Images to latents and back, as pure functions of `params`.

    *Moments* are what is known of an image's latents before anything is drawn, and thus what can be cached: mean and
    log-variance of a VAE's posterior side by side, or, for a base on pixels, the image itself.

    Attributes:
      load_params: reads the weights of encoder and decoder, {} where there are none; called once, at the first use of
        `params`, so that who works on cached moments alone never holds them.
      moments: (params, uint8 (n, H, W, 3)) -> float32 (n, h, w, m).
      sample: (moments, key) -> float32 (n, h, w, c) in model space.
      decode: (params, latents (n, h, w, c)) -> uint8 (n, H, W, 3).
      shape: (H, W) of an image -> (h, w, c) of its latents; raises ValueError for a size that does not divide.
    """

    load_params: Callable[[], Params]
    moments: Callable[[Params, jax.Array], jax.Array]
    sample: Callable[[jax.Array, jax.Array], jax.Array]
    decode: Callable[[Params, jax.Array], jax.Array]
    shape: Callable[[int, int], tuple[int, int, int]]

    @cached_property
    def params(self) -> Params:
        """The weights of encoder and decoder."""
        return self.load_params()


@dataclasses.dataclass(frozen=True)
class TextSpace:
    """Captions to contexts.

    Attributes:
      load_params: reads the text encoder's weights; called once, at the first use of `params`, so that training on
        cached contexts never holds them.
      tokenize: captions -> int32 (n, length).
      encode: (params, ids (n, length)) -> context float32 (n, length, width).
    """

    load_params: Callable[[], Params]
    tokenize: Callable[[Sequence[str]], np.ndarray]
    encode: Callable[[Params, jax.Array], jax.Array]

    @cached_property
    def params(self) -> Params:
        """The text encoder's weights."""
        return self.load_params()

    @cached_property
    def _jitted_encode(self) -> Callable[[Params, jax.Array], jax.Array]:
        return jax.jit(self.encode)

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Contexts of captions, float32 (n, length, width)."""
        ids = self.tokenize(captions)
        rows = []
        for start in range(0, len(ids), TEXT_BATCH):
            chunk = ids[start : start + TEXT_BATCH]
            # Padded to one size, so that one compiled program serves all.
            padded = np.pad(chunk, ((0, TEXT_BATCH - len(chunk)), (0, 0)))
            rows.append(np.asarray(self._jitted_encode(self.params, padded))[: len(chunk)])
        return np.concatenate(rows)


@dataclasses.dataclass(frozen=True)
class Family:
    """A checkpoint, ready to train a side network beside it.

    Attributes:
      model: pure functions over `frozen` and a trainable tree.
      frozen: parameters of the main network.
      process: noise process that the main network was trained with.
      latents: its latent space.
      encode_text: its captions to contexts.
      scheduler: the checkpoint's scheduler config, which decides how samplers space their steps.
      read_side_start: reads what a side network starts from, `start` of `DualBranch.init_side`: numpy arrays in the
        precision of their file. To be let go when the parameters are made.
      write_side: (folder, side parameters, dtype=None) writes the side network, several ones into a folder each.
      write_main: (folder, main parameters) writes the whole checkpoint with other main weights.
      fingerprint: hash of configs and weights of the base; tells one base from another.
    """

    model: DualBranch
    frozen: Params
    process: Process
    latents: LatentSpace
    encode_text: TextSpace
    scheduler: Mapping[str, Any]
    read_side_start: Callable[[], Params]
    write_side: Callable[..., None]
    write_main: Callable[[str | Path, Params], None]
    fingerprint: str
