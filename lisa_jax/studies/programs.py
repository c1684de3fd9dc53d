"""The jitted programs of a study: many training steps at once, measurements, samples.

Learning rate and lam are arguments, so that cells which differ in them or in the seed share compiled programs.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from lisa_jax import metrics
from lisa_jax.alignment import lisa_loss
from lisa_jax.dual_branch import Params
from lisa_jax.families.family import Family, LatentSpace
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import make_train_step

# Parameters of the side network that are no part of its trunk: its zero convolutions.
ZERO_CONVOLUTIONS = ("controlnet_down_blocks", "controlnet_mid_block")


class Examples(NamedTuple):
    """Rows on the device: moments (n, h, w, m) float32, context (n, length, width), condition uint8 (n, H, W, 3)."""

    moments: jax.Array
    context: jax.Array
    condition: jax.Array

    def inputs(self, latents: LatentSpace, key: jax.Array) -> dict[str, jax.Array]:
        """What the loss reads; `key` decides what latents are drawn from the moments."""
        return {
            "latents": latents.sample(self.moments, key),
            "context": self.context,
            "condition": self.condition.astype(jnp.float32) / 255.0,
        }


def optimizer_of(config: ConfigDict, learning_rate: jax.Array | float) -> optax.GradientTransformation:
    """The recipe's optimizer with warm-up to a learning rate that may be traced, constant afterwards."""
    settings = ConfigDict(config.optimizer.to_dict() | {"schedule": "constant"})
    settings.learning_rate = 0.0
    scale = learning_rate_schedule(ConfigDict(settings.to_dict() | {"learning_rate": 1.0}), 1)
    return make_optimizer(settings, lambda step: learning_rate * scale(step))


def make_init(config: ConfigDict, family: Family, hook: str | None) -> Callable[[Params, jax.Array], TrainState]:
    """(what the side network starts from, key) -> state at step 0."""

    def init(start: Params, key: jax.Array) -> TrainState:
        initialise = state_initialiser(
            lambda k: family.model.init_trainable(start, k, hook), optimizer_of(config, 0.0), ema=False
        )
        return initialise(key)

    return jax.jit(init)


def make_train_chunk(config: ConfigDict, family: Family, hook: str | None) -> Callable[..., Any]:
    """(state, frozen, train rows, row numbers (steps, batch), flips (steps, batch), key, learning rate, lam, decay)
    -> (state, summed metrics) after as many steps as there are row numbers.

    With hook None there is no alignment term, nor its cost. lam falls to 0 as a cosine over `decay` steps; infinity
    keeps it constant.
    """

    def train_chunk(state, frozen, rows, numbers, flips, key, learning_rate, lam, decay):
        def loss(params, frozen, batch, key, step):
            weight = 0 if hook is None else lam * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(step / decay, 1.0)))
            inputs = batch.inputs(family.latents, jax.random.fold_in(key, 1))
            return lisa_loss(
                params, frozen, inputs, key, model=family.model, process=family.process, lam=weight, hook=hook
            )

        step = make_train_step(loss, optimizer_of(config, learning_rate))

        def body(state: TrainState, xs: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, metrics.Mean]]:
            chosen, flip = xs
            batch = jax.tree.map(lambda leaf: leaf[chosen], rows)
            batch = Examples(_flip(batch.moments, flip), batch.context, _flip(batch.condition, flip))
            state, found = step(state, frozen, batch, key)
            return state, found.means

        state, means = jax.lax.scan(body, state, (numbers, flips))
        return state, jax.tree.map(jnp.sum, means)

    return jax.jit(train_chunk, donate_argnums=0)


def make_validation(family: Family, hook: str | None, draws: int, probe: int) -> Callable[..., dict[str, metrics.Mean]]:
    """(params, frozen, test rows) -> metrics of the test split under noise that never changes, `draws` times over.

    With a hook also the gradients of a batch of `probe` rows on the side network's trunk: the norm of the main loss's
    (`trunk_grad_main`), of the alignment loss's (`trunk_grad_align`, before lam), and the cosine between the two
    (`trunk_grad_cosine`).
    """

    def loss(params: Params, frozen: Params, rows: Examples, key: jax.Array, lam: float | jax.Array) -> tuple:
        inputs = rows.inputs(family.latents, jax.random.fold_in(key, 1))
        return lisa_loss(params, frozen, inputs, key, model=family.model, process=family.process, lam=lam, hook=hook)

    def validate(params: Params, frozen: Params, rows: Examples) -> dict[str, metrics.Mean]:
        lam = 0 if hook is None else jnp.float32(1)
        keys = jax.random.split(jax.random.key(0), draws)
        means = jax.lax.map(lambda key: loss(params, frozen, rows, key, lam)[1].means, keys)
        means = jax.tree.map(jnp.sum, means)
        return means if hook is None else means | gradient_shares(params, frozen, rows)

    def gradient_shares(params: Params, frozen: Params, rows: Examples) -> dict[str, metrics.Mean]:
        batch = jax.tree.map(lambda leaf: leaf[:probe], rows)

        def gradient(lam: float | jax.Array) -> list[jax.Array]:
            tree = jax.grad(lambda side: loss(params | {"side": side}, frozen, batch, jax.random.key(1), lam)[0])(
                params["side"]
            )
            return jax.tree.leaves([leaf for name, leaf in tree.items() if not name.startswith(ZERO_CONVOLUTIONS)])

        main = gradient(0)
        align = jax.tree.map(jnp.subtract, gradient(jnp.float32(1)), main)
        product = sum(jnp.sum(a * m) for a, m in zip(align, main, strict=True))
        main_norm, align_norm = optax.tree.norm(main), optax.tree.norm(align)
        values = {
            "trunk_grad_main": main_norm,
            "trunk_grad_align": align_norm,
            "trunk_grad_cosine": product / jnp.maximum(main_norm * align_norm, 1e-20),
        }
        return {name: metrics.scalar(value) for name, value in values.items()}

    return jax.jit(validate)


def _flip(images: jax.Array, flip: jax.Array) -> jax.Array:
    return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)


def plan_batches(seed: int, num_examples: int, num_steps: int, batch_size: int) -> Mapping[str, Any]:
    """Row numbers and flips of every step, by the seed alone: `numbers` int32 and `flips` bool, (steps, batch).

    Every epoch is another permutation; a batch may span two.
    """
    generator = np.random.default_rng(seed)
    epochs = -(-num_steps * batch_size // num_examples)
    order = np.concatenate([generator.permutation(num_examples) for _ in range(epochs)])
    shape = (num_steps, batch_size)
    return {
        "numbers": order[: num_steps * batch_size].reshape(shape).astype(np.int32),
        "flips": generator.random(shape) < 0.5,
    }
