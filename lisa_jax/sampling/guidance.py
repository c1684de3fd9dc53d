"""Predictions for samplers: a main network with classifier-free guidance and side networks."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import DualBranch, Params, Residuals, SideOutput, Tree
from lisa_jax.processes import Process
from lisa_jax.sampling.samplers.prediction import Predict


@dataclasses.dataclass(frozen=True)
class Control:
    """A side network at work, and when.

    Attributes:
        side: `SideNetwork.apply`, (params, trunk, x_t, t, context, condition) -> SideOutput.
        params: its parameters.
        condition: what it sees, float (n, ...).
        scale: factor on every residual, a number or a float32 scalar.
        start, end: the part of the sampling steps in which it acts, as diffusers' `control_guidance_start` and `_end`.

    Raises:
        ValueError: unless 0 <= start < end <= 1.
    """

    side: Callable[..., SideOutput]
    params: Params
    condition: jax.Array
    scale: float | jax.Array = 1.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self):
        check_window(self.start, self.end)


def check_window(start: float, end: float) -> None:
    """Raise ValueError unless 0 <= start < end <= 1."""
    if not 0 <= start < end <= 1:
        raise ValueError(
            f"control_start is {start} and control_end {end}, but 0 <= control_start < control_end <= 1 must hold."
        )


def steps_with_control(num_steps: int, start: float, end: float) -> np.ndarray:
    """Whether each step is within start..end, bool (num_steps,): diffusers' `controlnet_keep`."""
    return np.array([not (step / num_steps < start or (step + 1) / num_steps > end) for step in range(num_steps)])


def guided_predict(
    model: DualBranch,
    process: Process,
    frozen: Params,
    controls: Sequence[Control] = (),
    *,
    num_steps: int,
    context: Tree,
    null_context: Tree | None = None,
    guidance_scale: float | jax.Array | None = None,
    guess_mode: bool = False,
) -> Predict:
    """`predict(x_t, t, index)` for a sampler of `num_steps`: what `StableDiffusionControlNetPipeline` computes a step.

    The residuals of all controls are summed; a control is not computed in steps where it does not act.

    Args:
        model: its main network is sampled: `trunk` and `predict`.
        process: supplies the network's input scaling and time.
        frozen: parameters of the main network.
        controls: side networks; none samples the main network alone.
        num_steps: steps of the sampler.
        context: a tree of arrays (n, ...).
        null_context: context of the empty or of a negative prompt, n rows or 1. When given, classifier-free
            guidance (arXiv 2207.12598) evaluates both contexts in one call of batch 2n, with control of both:
            null + guidance_scale (conditional - null).
        guidance_scale: None or 1 is no guidance; or one for each frame of videos, (frames,).
        guess_mode: control of the conditional prediction alone, and k residuals scaled by k factors from 0.1 to 1,
            evenly spaced in their logarithm. As in diffusers, a first side network that averages its residuals over
            the picture (`global_pool_conditions`) implies it, and residuals of such networks are not scaled so.

    Raises:
        ValueError: guidance without `null_context`.
    """
    guided = null_context is not None
    if not guided and guidance_scale is not None and np.any(np.asarray(guidance_scale) != 1):
        raise ValueError(f"guidance_scale={guidance_scale} needs null_context; give the empty prompt's context.")

    def predict(x_t: jax.Array, t: jax.Array, index: jax.Array) -> jax.Array:
        inputs, time, contexts = process.network_input(x_t, t), process.network_time(t), context
        if guided:
            inputs, time = _twice(inputs), _twice(time)
            contexts = jax.tree.map(_pairs, null_context, context)
        trunk = model.trunk(frozen, inputs, time, contexts)
        rows = _Rows(trunk, inputs, time, contexts)
        guesses = guess_mode or (bool(controls) and _first_pools(controls[0], rows.prompted() if guided else rows))
        total = None
        for control in controls:
            acts = steps_with_control(num_steps, control.start, control.end)
            compute = functools.partial(_contribution, control, rows, guided=guided, guesses=guesses)
            residuals = _where_it_acts(acts, index, compute)
            total = residuals if total is None else jax.tree.map(jnp.add, total, residuals)
        outputs = model.predict(frozen, trunk, total)
        if not guided:
            return outputs
        # In float32: guidance would amplify the rounding of the difference.
        null, text = jnp.moveaxis(outputs.astype(jnp.float32).reshape(len(x_t), 2, *outputs.shape[1:]), 1, 0)
        return null + _by_frame(guidance_scale, outputs.ndim) * (text - null)

    return predict


def scales_of_frames(first: float, last: float, frames: int) -> np.ndarray:
    """Guidance of each frame, float32 (frames,), evenly from the first to the last.

    As `min_guidance_scale` and `max_guidance_scale` of diffusers' `StableVideoDiffusionPipeline`.
    """
    return np.linspace(first, last, frames, dtype=np.float32)


def _by_frame(scale: Any, axes: int) -> Any:
    """A factor of outputs (n, frames, ...), which have so many axes; a number is one of whatever outputs."""
    return scale if np.ndim(scale) == 0 else jnp.reshape(scale, (-1, *(1,) * (axes - 2)))


class _Rows(NamedTuple):
    """What a side network is given beside its parameters and its condition; with guidance in pairs, see `_pairs`."""

    trunk: Tree
    inputs: jax.Array
    time: jax.Array
    context: Tree

    def prompted(self) -> "_Rows":
        """Of pairs, the rows of the prompt."""
        return jax.tree.map(lambda rows: rows[1::2], self)


def _pairs(null: jax.Array, text: jax.Array) -> jax.Array:
    """Rows null_0, text_0, null_1, text_1, ...: an example's two halves stay on its device."""
    null = jnp.broadcast_to(null, text.shape).astype(text.dtype)
    return jnp.stack([null, text], axis=1).reshape(-1, *text.shape[1:])


def _twice(rows: jax.Array) -> jax.Array:
    return _pairs(rows, rows)


def _contribution(control: Control, rows: _Rows, *, guided: bool, guesses: bool) -> Residuals:
    """What a control adds at a step in which it acts; `guesses`: as in guess mode."""
    if guided and guesses:
        rows = rows.prompted()
    condition = _twice(control.condition) if guided and not guesses else control.condition
    residuals = control.side(control.params, *rows, condition).residuals
    factors = [control.scale] * len(residuals)
    if guesses and not _pools(residuals, rows.inputs):
        factors = [float(factor) * control.scale for factor in np.logspace(-1, 0, len(residuals))]
    residuals = tuple(
        jnp.asarray(factor, residual.dtype) * residual for factor, residual in zip(factors, residuals, strict=True)
    )
    if guided and guesses:
        # Of a residual that a smaller side network lacks there is one row, of zeros, for all examples.
        residuals = tuple(
            _pairs(jnp.zeros_like(residual), residual) if residual.shape[0] == len(rows.inputs) else residual
            for residual in residuals
        )
    return residuals


def _where_it_acts(acts: np.ndarray, index: jax.Array, compute: Callable[[], Residuals]) -> Residuals:
    if acts.all():
        return compute()
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(compute))
    return jax.lax.cond(jnp.asarray(acts)[index], compute, lambda: zeros)


def _first_pools(control: Control, rows: _Rows) -> bool:
    shapes = jax.eval_shape(control.side, control.params, *rows, control.condition).residuals
    return _pools(shapes, rows.inputs)


def _pools(residuals: Sequence[Any], inputs: jax.Array) -> bool:
    """Whether residuals are averages over all places; the first one has the latents' size otherwise."""
    space = residuals[0].shape[1:-1]
    return set(space) == {1} and space != inputs.shape[1:-1]
