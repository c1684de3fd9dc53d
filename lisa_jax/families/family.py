"""What a family gives: a dual-branch model with its frozen weights, its latents, its text and its noise process."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.processes import Process


@dataclasses.dataclass(frozen=True)
class LatentSpace:
    """Images to latents and back.

    Attributes:
      encode: uint8 (n, H, W, 3) -> float32 (n, h, w, c) in model space; runs on the device.
      decode: (n, h, w, c) -> uint8 (n, H, W, 3); runs on the device.
      shape: (H, W) of an image -> (h, w, c) of its latents.
    """

    encode: Callable[[jax.Array], jax.Array]
    decode: Callable[[jax.Array], jax.Array]
    shape: Callable[[int, int], tuple[int, int, int]]


@dataclasses.dataclass(frozen=True)
class Family:
    """A checkpoint, ready to train a side network beside it.

    Attributes:
      model: pure functions over `frozen` and a trainable tree.
      frozen: parameters of the main network.
      process: noise process that the main network was trained with.
      latents: its latent space.
      encode_text: captions -> context, float32 (n, length, width).
      sampler_options: keyword arguments of the sampler, from the checkpoint's scheduler config.
      write_side: (folder, side parameters) writes the side network as a diffusers folder.
      write_main: (folder, main parameters) writes the whole checkpoint with other main weights.
      fingerprint: hash of config and weights of the main network; tells one base from another.
    """

    model: DualBranch
    frozen: Params
    process: Process
    latents: LatentSpace
    encode_text: Callable[[Sequence[str]], np.ndarray]
    sampler_options: Mapping[str, Any]
    write_side: Callable[[str | Path, Params], None]
    write_main: Callable[[str | Path, Params], None]
    fingerprint: str
