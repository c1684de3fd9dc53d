"""Predictions for samplers: a dual-branch model with classifier-free guidance and control."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lisa_jax.processes import Process


def guided_predict(
    model: Any,
    process: Process,
    frozen: Any,
    side_params: Any = None,
    *,
    context: Any,
    null_context: Any = None,
    condition: jax.Array | None = None,
    guidance_scale: float | jax.Array = 1.0,
    control_scale: float | jax.Array = 1.0,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`predict(x_t, t)` for a sampler: x_t (n, h, w, c) and process times t (n,) to a prediction of x_t's shape.

    Args:
        model: a `DualBranch`; `trunk`, `predict` and `side` are used.
        process: supplies the network's input scaling and time.
        frozen: parameters of the main network.
        side_params: parameters of the side network; may be None without control.
        context: text context (n, L, D), or a tree of arrays with leading axis n.
        null_context: context of the empty prompt, of leading axis n or 1. When given, classifier-free guidance
            (arXiv 2207.12598) evaluates both contexts in one call of batch 2n, with control in both halves:
            null + guidance_scale (conditional - null).
        condition: visual condition (n, H, W, 3); None samples the main network alone, without control.
        guidance_scale: 1 is no guidance.
        control_scale: factor on every residual of the side network.

    Raises:
        ValueError: if `condition` comes without `side_params`, or guidance without `null_context`.
    """
    if condition is not None and side_params is None:
        raise ValueError("condition needs side_params; give the side network's parameters, or no condition.")
    if null_context is None and not (isinstance(guidance_scale, (int, float)) and guidance_scale == 1):
        raise ValueError(f"guidance_scale={guidance_scale} needs null_context; give the empty prompt's context.")
    guided = null_context is not None

    def evaluate(x_t: jax.Array, t: jax.Array, contexts: Any, conditions: jax.Array | None) -> jax.Array:
        inputs, time = process.network_input(x_t, t), process.network_time(t)
        trunk = model.trunk(frozen, inputs, time, contexts)
        if conditions is None:
            return model.predict(frozen, trunk)
        residuals = model.side(side_params, inputs, time, contexts, conditions).residuals
        return model.predict(frozen, trunk, jax.tree.map(lambda r: control_scale * r, residuals))

    def predict(x_t: jax.Array, t: jax.Array) -> jax.Array:
        if not guided:
            return evaluate(x_t, t, context, condition)
        both = jax.tree.map(
            lambda null, text: jnp.concatenate([jnp.broadcast_to(null, text.shape), text]), null_context, context
        )
        conditions = None if condition is None else jnp.concatenate([condition, condition])
        outputs = evaluate(jnp.concatenate([x_t, x_t]), jnp.concatenate([t, t]), both, conditions)
        # In float32: guidance would amplify the rounding of the difference.
        null, text = jnp.split(outputs.astype(jnp.float32), 2)
        return null + guidance_scale * (text - null)

    return predict
