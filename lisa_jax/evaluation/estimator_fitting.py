"""Fitting the estimators of `lisa_jax.evaluation.estimators` to real pictures."""

import functools
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lisa_jax.evaluation.estimators import unit_range
from lisa_jax.evaluation.measures.table import MEASURES
from lisa_jax.evaluation.measures.task_measures import Reading
from lisa_jax.evaluation.networks.estimators import DenseEstimator
from lisa_jax.parallel.compiling import Announced

_LOG = logging.getLogger("lisa_jax")
_WARMUP = 0.1
_LOG_EVERY = 100


def fit(
    task: str,
    images: np.ndarray,
    truth: np.ndarray,
    *,
    num_steps: int,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> dict:
    """Parameters of a `DenseEstimator` for the task, fitted with AdamW and a cosine schedule.

    Args:
      task: one of `read_tasks`.
      images: uint8 (n, H, W, 3).
      truth: what `Reading.target` takes: for pose key points, float32 (n, 18, 3); for depth the distance, float32
        (n, H, W), > 0.
      num_steps: number of batches, each of a random part of the pictures, altered by `augment`.
      seed: decides start, batches and alterations.

    Raises:
      FloatingPointError: the loss is not finite at the end.
    """
    reading = MEASURES[task].reading
    network = DenseEstimator(reading.channels)
    target = jnp.asarray(reading.target(truth), jnp.float32)
    pictures = jnp.asarray(images)
    warmup = math.ceil(_WARMUP * num_steps)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, num_steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))
    start_key, steps_key = jax.random.split(jax.random.key(seed))

    @functools.partial(Announced, what="the first estimator", position=1)
    def born(key, picture):
        params = network.init(key, picture)
        return params, optimizer.init(params)

    @functools.partial(Announced, what="the step of fitting", position=3, donate_argnums=(0, 1))
    def step(params, state, number, pictures, target):
        batch_key, augment_key = jax.random.split(jax.random.fold_in(steps_key, number))
        rows = jax.random.randint(batch_key, (batch_size,), 0, len(pictures))
        batch, wanted = augment(reading, pictures[rows], target[rows], augment_key)
        loss, gradient = jax.value_and_grad(lambda params: reading.loss(network.apply(params, batch), wanted))(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    params, state = born(start_key, unit_range(pictures[:1]))
    for number in range(num_steps):
        params, state, loss = step(params, state, number, pictures, target)
        if (number + 1) % _LOG_EVERY == 0:
            _LOG.info("%s, step %d of %d: loss %.4f", task, number + 1, num_steps, loss)
    if not math.isfinite(float(loss)):
        raise FloatingPointError(f"The {task} estimator's loss at step {num_steps} is {float(loss)}.")
    return params


def augment(reading: Reading, images: jax.Array, target: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Alter pictures as imperfect generated ones might be: mirrored, other colours, blurred, noisy.

    A share `reading.empty` becomes empty rooms, the first column all over.

    Args:
      reading: of the task.
      images: uint8 (n, H, W, 3).
      target: what `reading.loss` compares with.

    Returns:
      Pictures as the network sees them, float32 about -1..1, and the target, mirrored with them.
    """
    keys = jax.random.split(key, 7)
    n, width = len(images), images.shape[2]
    pictures = unit_range(images)

    mirror = jax.random.bernoulli(keys[0], shape=(n,))
    pictures = jnp.where(mirror[:, None, None, None], pictures[:, :, ::-1], pictures)
    target = jnp.where(mirror[:, None, None], reading.mirror(target, width), target)
    if reading.empty:
        empty = jax.random.bernoulli(keys[6], reading.empty, (n,))
        pictures = jnp.where(empty[:, None, None, None], pictures[:, :, :1], pictures)
        target = jnp.where(empty[:, None, None], 0.0, target)

    gain = jnp.exp(0.15 * jax.random.normal(keys[1], (n, 1, 1, 3)))
    offset = 0.1 * jax.random.normal(keys[2], (n, 1, 1, 3))
    pictures = jnp.clip(pictures * gain + offset, -1.0, 1.0)
    blur = jax.random.uniform(keys[3], (n, 1, 1, 1)) * jax.random.bernoulli(keys[4], shape=(n, 1, 1, 1))
    pictures += blur * (_blurred(pictures) - pictures)
    level_key, noise_key = jax.random.split(keys[5])
    level = 0.15 * jax.random.uniform(level_key, (n, 1, 1, 1))
    return pictures + level * jax.random.normal(noise_key, pictures.shape), target


def _blurred(pictures: jax.Array) -> jax.Array:
    """Binomial filter (1, 2, 1) / 4 along both sides, edges repeated."""
    for axis in (1, 2):
        padding = [(1, 1) if other == axis else (0, 0) for other in range(4)]
        padded = jnp.pad(pictures, padding, mode="edge")
        size = pictures.shape[axis]
        before, at, after = (jax.lax.slice_in_dim(padded, shift, shift + size, axis=axis) for shift in range(3))
        pictures = (before + 2 * at + after) / 4
    return pictures
