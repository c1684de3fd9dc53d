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
from lisa_jax.alignment import AlignedRows, add_noise, lisa_loss, lisa_terms
from lisa_jax.dual_branch import Hook, Params
from lisa_jax.families.family import Family, LatentSpace
from lisa_jax.training.diagnostics import gradient_shares
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import make_train_step
from lisa_jax.weighting import UNIFORM


class Alignment(NamedTuple):
    """What is aligned and how, beside lam: the hooks, one row of how many, the weighting by noise level, and how many
    times the learning rate the decoder has."""

    hook: Hook
    every: int = 1
    weighting: str = UNIFORM
    decoder_rate: float = 1.0


class Examples(NamedTuple):
    """Rows on the device: moments (n, h, w, m) float32, context (n, length, width), condition uint8 (n, H, W, 3), in a
    composed task by name."""

    moments: jax.Array
    context: jax.Array
    condition: Any

    def inputs(self, latents: LatentSpace, key: jax.Array) -> dict[str, jax.Array]:
        """What the loss reads; `key` decides what latents are drawn from the moments."""
        return {
            "latents": latents.sample(self.moments, key),
            "context": self.context,
            "condition": jax.tree.map(lambda rows: rows.astype(jnp.float32) / 255.0, self.condition),
        }


def optimizer_of(
    config: ConfigDict, learning_rate: jax.Array | float, decoder_rate: float = 1.0
) -> optax.GradientTransformation:
    """The recipe's optimizer with warm-up to a learning rate that may be traced, constant afterwards."""
    settings = ConfigDict(config.optimizer.to_dict() | {"schedule": "constant", "decoder_rate": decoder_rate})
    settings.learning_rate = 0.0
    scale = learning_rate_schedule(ConfigDict(settings.to_dict() | {"learning_rate": 1.0}), 1)
    return make_optimizer(settings, lambda step: learning_rate * scale(step))


def make_init(config: ConfigDict, family: Family, hook: Hook | None) -> Callable[[Params, jax.Array], TrainState]:
    """(what the side network starts from, key) -> state at step 0."""

    def init(start: Params, key: jax.Array) -> TrainState:
        initialise = state_initialiser(
            lambda k: family.model.init_trainable(start, k, hook), optimizer_of(config, 0.0), ema=False
        )
        return initialise(key)

    return jax.jit(init)


def make_train_chunk(config: ConfigDict, family: Family, alignment: Alignment | None) -> Callable[..., Any]:
    """(state, frozen, train rows, row numbers (steps, batch), flips (steps, batch), key, learning rate, lam, decay)
    -> (state, summed metrics) after as many steps as there are row numbers.

    With alignment None there is no such term, nor its cost. lam falls to 0 as a cosine over `decay` steps; infinity
    keeps it constant.
    """

    def train_chunk(state, frozen, rows, numbers, flips, key, learning_rate, lam, decay):
        def loss(params, frozen, batch, key, step):
            inputs = batch.inputs(family.latents, jax.random.fold_in(key, 1))
            if alignment is None:
                return lisa_loss(
                    params, frozen, inputs, key, model=family.model, process=family.process, lam=0, hook=None
                )
            return lisa_loss(
                params,
                frozen,
                inputs,
                key,
                model=family.model,
                process=family.process,
                lam=lam * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(step / decay, 1.0))),
                hook=alignment.hook,
                align=AlignedRows(alignment.every, step) if alignment.every > 1 else None,
                weighting=alignment.weighting,
            )

        decoder_rate = 1.0 if alignment is None else alignment.decoder_rate
        step = make_train_step(loss, optimizer_of(config, learning_rate, decoder_rate))

        def body(state: TrainState, xs: tuple[jax.Array, jax.Array]) -> tuple[TrainState, dict[str, metrics.Mean]]:
            chosen, flip = xs
            batch = jax.tree.map(lambda leaf: leaf[chosen], rows)
            condition = jax.tree.map(lambda images: _flip(images, flip), batch.condition)
            batch = Examples(_flip(batch.moments, flip), batch.context, condition)
            state, found = step(state, frozen, batch, key)
            return state, found.means

        if len(numbers) == 1:
            # No loop around one step: on CPU the gradients of convolutions are many times slower in one.
            return body(state, (numbers[0], flips[0]))
        state, means = jax.lax.scan(body, state, (numbers, flips))
        return state, jax.tree.map(jnp.sum, means)

    return jax.jit(train_chunk, donate_argnums=0)


def make_validation(
    family: Family, alignment: Alignment | None, draws: int, probe: int
) -> Callable[..., dict[str, metrics.Mean]]:
    """(params, frozen, test rows) -> metrics of the test split under noise that never changes, `draws` times over.

    With alignment also the gradients of a batch of `probe` rows on the side network's trunk: the norm of the main
    loss's (`trunk_grad_main`), of the alignment loss's (`trunk_grad_align`, before lam), and the cosine between the two
    (`trunk_grad_cosine`).
    """

    def loss_means(params: Params, frozen: Params, rows: Examples, key: jax.Array) -> dict[str, metrics.Mean]:
        inputs = rows.inputs(family.latents, jax.random.fold_in(key, 1))
        lam, hook = (0, None) if alignment is None else (1.0, alignment.hook)
        return lisa_loss(params, frozen, inputs, key, model=family.model, process=family.process, lam=lam, hook=hook)[
            1
        ].means

    def validate(params: Params, frozen: Params, rows: Examples) -> dict[str, metrics.Mean]:
        keys = jax.random.split(jax.random.key(0), draws)
        means = jax.lax.map(lambda key: loss_means(params, frozen, rows, key), keys)
        means = jax.tree.map(jnp.sum, means)
        return means if alignment is None else means | trunk_gradients(params, frozen, rows)

    def trunk_gradients(params: Params, frozen: Params, rows: Examples) -> dict[str, metrics.Mean]:
        key = jax.random.key(1)
        inputs = jax.tree.map(lambda leaf: leaf[:probe], rows).inputs(family.latents, jax.random.fold_in(key, 1))
        noisy = add_noise(inputs["latents"], key, family.process)

        def terms(side: Params) -> tuple[jax.Array, jax.Array]:
            both, _ = lisa_terms(
                params | {"side": side},
                frozen,
                inputs,
                noisy,
                model=family.model,
                process=family.process,
                hook=alignment.hook,
                weighting=alignment.weighting,
            )
            return both.main, both.align

        shares = gradient_shares(terms, params["side"], family.model.side_trunk)
        values = {"main": shares.main, "align": shares.align, "cosine": shares.cosine}
        return {f"trunk_grad_{name}": metrics.scalar(value) for name, value in values.items()}

    return jax.jit(validate)


def _flip(images: jax.Array, flip: jax.Array) -> jax.Array:
    return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)


def plan_batches(
    seed: int, num_examples: int, num_steps: int, batch_size: int, *, flips: bool = True
) -> Mapping[str, Any]:
    """Row numbers and flips of every step, by the seed alone: `numbers` int32 and `flips` bool, (steps, batch).

    Every epoch is another permutation; a batch may span two. Without `flips` nothing is mirrored.
    """
    generator = np.random.default_rng(seed)
    epochs = -(-num_steps * batch_size // num_examples)
    order = np.concatenate([generator.permutation(num_examples) for _ in range(epochs)])
    shape = (num_steps, batch_size)
    return {
        "numbers": order[: num_steps * batch_size].reshape(shape).astype(np.int32),
        "flips": (generator.random(shape) < 0.5) & flips,
    }
