"""TrainState: all that training changes, and nothing else. The frozen tree is never in it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from lisa_jax.dual_branch import Params
from lisa_jax.parallel.sharding import Rules, path_name, replicated, shard_bytes, shardings


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


def state_shardings(state: TrainState, rules: Rules, mesh: Mesh) -> TrainState:
    """The sharding of every leaf of a state of arrays or shapes, by the rules of its parameters.

    What an optimizer keeps of a parameter lies as the parameter does if it has its shape. Anything else, such as
    Adafactor's means over rows and columns, is small, and on every device.

    Raises:
      ValueError: as `shardings`.
    """
    params = shardings(state.params, rules, mesh)
    by_path = {
        path_name(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(state.params), jax.tree.leaves(params), strict=True
        )
    }

    def of_slot(path: tuple, leaf: jax.Array) -> NamedSharding:
        # A tree like the parameters has a parameter's path below its own.
        names = (path_name(path[start:]) for start in range(len(path)))
        shape, sharding = next((by_path[name] for name in names if name in by_path), (None, None))
        return sharding if leaf.shape == shape else replicated(mesh)

    return TrainState(
        replicated(mesh),
        params,
        jax.tree_util.tree_map_with_path(of_slot, state.opt_state),
        None if state.ema is None else params,
    )


def device_bytes(state: TrainState, frozen: Params) -> dict[str, int]:
    """Bytes that one device holds, whatever a step computes, of trees of arrays or of shapes with shardings."""
    parts = {"frozen": frozen, "trainable": state.params, "optimizer": state.opt_state, "average": state.ema}
    return {name: shard_bytes(tree) for name, tree in parts.items()}
