"""From a batch as the pipeline gives it to what the loss reads; runs on the device, inside the step."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params
from lisa_jax.families.family import LatentSpace, TextSpace


def model_inputs(
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    frozen: Mapping[str, Params],
    *,
    latents: LatentSpace,
    text: TextSpace,
    null_context: jax.Array,
    caption_dropout: float,
) -> dict[str, jax.Array]:
    """Encode what is not cached, draw latents anew, scale conditions and drop captions.

    Args:
      batch: `moments` (n, h, w, m) or `image` uint8 (n, H, W, 3); `context` (n, length, width) or `ids` int32
        (n, length); `condition` uint8 (n, H, W, 3), a dict of such, or absent.
      key: PRNG key of the dropout and of the latents.
      frozen: holds `latents` where images are to be encoded, and `text` where ids are.
      latents: the latent space.
      text: the text encoder.
      null_context: (1, length, width) context of the empty prompt.
      caption_dropout: probability of replacing a context by it.

    Returns:
      latents float32 (n, h, w, c), context, and condition float32 in [0, 1] where there is one.
    """
    dropout_key, latents_key = jax.random.split(key)
    context = batch["context"] if "context" in batch else text.encode(frozen["text"], batch["ids"])
    if caption_dropout > 0:
        drop = jax.random.bernoulli(dropout_key, caption_dropout, (context.shape[0], 1, 1))
        context = jnp.where(drop, null_context.astype(context.dtype), context)
    moments = batch["moments"] if "moments" in batch else latents.moments(frozen["latents"], batch["image"])
    inputs = {"latents": latents.sample(moments, latents_key), "context": context}
    if "condition" in batch:
        inputs["condition"] = jax.tree.map(lambda rows: rows.astype(jnp.float32) / 255.0, batch["condition"])
    return inputs
