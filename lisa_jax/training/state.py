"""TrainState: all that training changes, and nothing else. The frozen tree is never in it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lisa_jax.dual_branch import Params


class TrainState(NamedTuple):
    """Step (scalar int32, steps done), trainable parameters, optimizer state, and their moving average or None."""

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params | None

    @property
    def eval_params(self) -> Params:
        """What previews, validation and export use: the moving average where there is one."""
        return self.params if self.ema is None else self.ema


def state_initialiser(
    init: Callable[[jax.Array], Params], optimizer: optax.GradientTransformation, ema: bool
) -> Callable[[jax.Array], TrainState]:
    """Make the pure function key -> TrainState at step 0; parameters are float32."""

    def initialise(key: jax.Array) -> TrainState:
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), init(key))
        # A copy: donated state must not hold one buffer twice.
        average = jax.tree.map(jnp.copy, params) if ema else None
        return TrainState(jnp.int32(0), params, optimizer.init(params), average)

    return initialise
