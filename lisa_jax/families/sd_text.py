"""Captions of Stable Diffusion 1.x and 2.x, by one CLIP text encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel


def clip_conditioner(
    config: CLIPTextConfig,
    length: int,
    tokenize: Callable[[Sequence[str]], np.ndarray],
    load_params: Callable[[], Params],
    cuts_captions: Callable[[Sequence[str]], Sequence[bool]] | None = None,
) -> Conditioner:
    """Captions to the last hidden state of a CLIP text model, float32 (n, length, width)."""

    def read(examples: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Token ids, int32 (n, length)."""
        return tokenize([example["caption"] for example in examples])

    def encode(params: Params, ids: jax.Array) -> jax.Array:
        return CLIPTextModel(config).apply({"params": params}, ids).last_hidden_state

    def cuts(examples: Sequence[Mapping[str, Any]]) -> Sequence[bool]:
        """Whether captions are cut."""
        return cuts_captions([example["caption"] for example in examples])

    def null(context: Tree, empty: Tree) -> Tree:
        """The empty caption's context."""
        return jnp.broadcast_to(empty, context.shape)

    shape = jax.ShapeDtypeStruct((length, config.hidden_size), jnp.float32)
    return Conditioner(load_params, read, encode, null, shape, cuts if cuts_captions else None)
