"""Images from a family: the one path that previews, `sample` and `evaluate` share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import Params
from lisa_jax.families.family import Family
from lisa_jax.sampling.ddim import ddim_sample
from lisa_jax.sampling.guidance import guided_predict
from lisa_jax.sampling.noise import initial_noise

Generator = Callable[..., np.ndarray]


def make_generator(
    family: Family, *, num_steps: int, guidance_scale: float, control_scale: float = 1.0, batch_size: int = 16
) -> Generator:
    """Make a sampler of images.

    Args:
      family: model, process, latent space and sampler options.
      num_steps: DDIM steps.
      guidance_scale: classifier-free guidance towards the caption; 1 is none.
      control_scale: factor on the side network's residuals.
      batch_size: examples at a time; changes no image.

    Returns:
      generate(frozen, side, context, condition, indices, seed) -> uint8 (n, H, W, 3), where context is float32
      (n, length, width), condition uint8 (n, H, W, 3) and indices (n,). Image i depends on (seed, indices[i]), its
      context and its condition alone. With side None the main network samples without control.
    """
    null_context = family.encode_text([""])

    @jax.jit
    def generate_batch(frozen: Params, side: Params, context: jax.Array, condition: jax.Array, noise: jax.Array):
        predict = guided_predict(
            family.model,
            family.process,
            frozen,
            side,
            context=context,
            null_context=None if guidance_scale == 1 else jnp.asarray(null_context),
            condition=None if side is None else condition.astype(jnp.float32) / 255.0,
            guidance_scale=guidance_scale,
            control_scale=control_scale,
        )
        latents = ddim_sample(predict, family.process, noise, num_steps, **family.sampler_options)
        return family.latents.decode(latents)

    def generate(
        frozen: Params,
        side: Params | None,
        context: np.ndarray,
        condition: np.ndarray,
        indices: np.ndarray,
        seed: int = 0,
    ) -> np.ndarray:
        shape = family.latents.shape(*condition.shape[1:3])
        images = []
        for start in range(0, len(indices), batch_size):
            rows = slice(start, start + batch_size)
            short = batch_size - len(indices[rows])
            # The last batch is filled up, so that one compiled program serves all.
            inputs = [
                np.concatenate([part[rows], np.repeat(part[:1], short, 0)])
                for part in (context, condition, np.asarray(indices, np.uint32))
            ]
            found = generate_batch(frozen, side, *inputs[:2], initial_noise(seed, inputs[2], shape))
            images.append(np.asarray(found)[: batch_size - short])
        return np.concatenate(images)

    return generate
