"""Key points of a person as heat maps, one a point: how they are read, learnt and mirrored."""

import jax
import jax.numpy as jnp
import optax

NUM_POINTS = 18
# Left and right of the body change places in a mirror: nose, neck, the limbs, the eyes and ears.
MIRRORED = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
# How far around the peak of a heat map its mean is taken, in pixels.
_REACH = 2
# Standard deviation of the place that a key point is learnt as, in pixels.
_SPREAD = 0.7


def read_points(logits: jax.Array) -> jax.Array:
    """Key points of heat maps: float32 (n, points, 3) from logits (n, H, W, points).

    A point is at one of the pixels or, with logit 0, nowhere in sight; softmax makes these probabilities. x and y, in
    pixels with (0.5, 0.5) the centre of the first, are the mean over the probable pixels around the most probable one;
    confidence is the probability that the point is in sight.
    """
    n, height, width, points = logits.shape
    flat = logits.reshape(n, height * width, points)
    nowhere = jnp.zeros((n, 1, points), flat.dtype)
    chances = jax.nn.softmax(jnp.concatenate([flat, nowhere], axis=1), axis=1)[:, :-1]
    rows, columns = jnp.divmod(jnp.arange(height * width), width)
    peak = jnp.argmax(flat, axis=1)[:, None]
    near = (jnp.abs(rows[None, :, None] - peak // width) <= _REACH) & (
        jnp.abs(columns[None, :, None] - peak % width) <= _REACH
    )
    # From the logits, for where a point is hardly in sight its probabilities may all round to 0.
    weights = jax.nn.softmax(jnp.where(near, flat, -jnp.inf), axis=1)
    x = jnp.einsum("p,npk->nk", columns + 0.5, weights)
    y = jnp.einsum("p,npk->nk", rows + 0.5, weights)
    return jnp.stack([x, y, chances.sum(axis=1)], axis=-1)


def heat_map_loss(logits: jax.Array, keypoints: jax.Array) -> jax.Array:
    """Cross entropy of where the key points are, a scalar.

    Args:
      logits: (n, H, W, points), see `read_points`.
      keypoints: float32 (n, points, 3), the third 1 for visible points and 0 for the others, which are nowhere.
    """
    n, height, width, points = logits.shape
    squares = [
        jnp.square(jnp.arange(size) + 0.5 - keypoints[..., axis, None]) for axis, size in ((0, width), (1, height))
    ]
    log_place = -(squares[1][..., :, None] + squares[0][..., None, :]) / (2 * _SPREAD**2)
    place = jax.nn.softmax(log_place.reshape(n, points, height * width), axis=-1)
    visible = keypoints[..., 2:]
    target = jnp.concatenate([visible * place, 1 - visible], axis=-1)
    flat = jnp.moveaxis(logits.reshape(n, height * width, points), 1, 2)
    flat = jnp.concatenate([flat, jnp.zeros((n, points, 1), flat.dtype)], axis=-1)
    return jnp.mean(optax.losses.softmax_cross_entropy(flat, target))


def mirror_points(keypoints: jax.Array, width: int) -> jax.Array:
    """Key points (n, 18, 3) of pictures of a width in pixels, after left and right were swapped."""
    swapped = keypoints[:, MIRRORED]
    return swapped.at[..., 0].set(width - swapped[..., 0])
