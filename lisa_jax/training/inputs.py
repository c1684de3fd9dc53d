"""From a batch as the pipeline gives it to what the loss reads; runs on the device, inside the step."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def model_inputs(
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    encode: Callable[[jax.Array], jax.Array],
    null_context: jax.Array,
    caption_dropout: float,
) -> dict[str, jax.Array]:
    """Encode images, scale conditions and drop captions.

    Args:
      batch: image uint8 (n, H, W, 3), context float32 (n, length, width), condition uint8 (n, H, W, 3) or absent.
      key: PRNG key of the dropout.
      encode: the latent space's encoder.
      null_context: (1, length, width) context of the empty prompt.
      caption_dropout: probability of replacing a context by it.

    Returns:
      latents float32 (n, h, w, c), context, and condition float32 in [0, 1] where there is one.
    """
    context = batch["context"]
    if caption_dropout > 0:
        drop = jax.random.bernoulli(key, caption_dropout, (context.shape[0], 1, 1))
        context = jnp.where(drop, null_context, context)
    inputs = {"latents": encode(batch["image"]), "context": context}
    if "condition" in batch:
        inputs["condition"] = batch["condition"].astype(jnp.float32) / 255.0
    return inputs
