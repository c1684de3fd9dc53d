"""Likelihood Score Alignment (LISA, arXiv 2606.27192): the loss and the schedule of its weight.

For x_t at noise level t, text y, condition c and the regression target of the noise process:

    residuals, features = side(x_t, t, y, c)
    prediction          = main(x_t, t, y, residuals)
    prior               = stop_gradient(main(x_t, t, y))          same text, no control
    aligned             = decoder(features[hook], t)
    loss = mse(prediction, target) + lam * mse(aligned, stop_gradient(target - prior))

With several hooks each has a decoder, and the alignment term is the mean of theirs. `target - prior`, the gap, is what
the frozen network cannot explain; its mean given x_t and c is, up to a known factor (`Process.likelihood_score`), the
likelihood score grad log p(c | x_t). Prediction and prior are what the loss compares of the main network's output,
which is the output itself unless an `Objective` says otherwise (`Process.regressed`). Without an `Alignment` this is
plain training of the side network, and compiles to exactly that: no prior, no decoder.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import DualBranch, Gate, Params, Tree
from lisa_jax.metrics import LossMetrics, mean, means_by_quartile
from lisa_jax.processes import Process
from lisa_jax.weighting import UNIFORM, alignment_weight, check_weighting


def lisa_loss(
    trainable: Mapping[str, Params],
    frozen: Params,
    inputs: Mapping[str, Tree],
    noisy: NoisySample,
    *,
    model: DualBranch,
    process: Process,
    align: Alignment | None,
    step: jax.Array | int = 0,
) -> tuple[LossTerms, LossMetrics]:
    """The two terms of the LISA loss of a noised batch; `LossTerms.total` adds them up.

    Args:
      trainable: {"side": {name: params}, "decoder": {hook: {name: params}}}; "decoder" is not read without `align`.
      frozen: the main network's parameters.
      inputs: `context`, a tree of arrays (n, ...), and `condition`, what each side network sees, by name.
      noisy: the noisy sample of n examples.
      model: the dual-branch model.
      process: the noise process the main network was trained with, or an `Objective` of it.
      align: what is aligned, and how; None leaves out the alignment and its cost.
      step: training step, traced or not; decides which rows are aligned where not all are.

    Returns:
      The terms, and metrics. Their means are `main_loss` and `target_power`, with alignment also `align_loss` and
      `gap_power`, each over all noise levels and by quartile of those that are trained (`main_loss_q1` the least noise,
      ... `main_loss_q4`); with several hooks also `align_loss/<hook>`. None of them is weighted. `residual_power` and
      `joined_power` are those of `DualBranch.gate`.
    Raises:
      ValueError: names that are not those of the side networks, or rows that `align.every` does not divide.
    """
    frozen = jax.lax.stop_gradient(frozen)
    x_t, t, context = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t), inputs["context"]

    # Control cannot reach the trunk, so one pass of it serves both the prediction and the prior.
    trunk = model.trunk(frozen, x_t, t, context)
    side = model.complete(trainable["side"], frozen)
    residuals, features = model.side(side, trunk, x_t, t, context, inputs["condition"])
    prediction = process.regressed(model.predict(frozen, trunk, residuals), noisy.x_t, noisy.t)
    error = squared_error(prediction, noisy.target)
    main = jnp.mean(process.weight(noisy.t) * error)
    metrics = _with_gate(_main_metrics(error, noisy, process), model.gate(trunk, residuals))
    if align is None:
        return LossTerms(main, None), metrics

    # All rows, or those whose turn it is.
    trunk, features, t, noisy = align.rows((trunk, features, t, noisy), step)
    prior = process.regressed(model.predict(frozen, trunk), noisy.x_t, noisy.t)
    gap = jax.lax.stop_gradient(noisy.target - prior)
    aligned = {hook: model.decode(trainable["decoder"][hook], features[hook], t, gap.shape) for hook in align.hooks}
    errors = {hook: squared_error(aligned[hook], gap) for hook in align.hooks}
    error = sum(errors.values()) / len(errors)
    alignment = jnp.mean(alignment_weight(align.weighting, process, noisy.t) * error)
    return LossTerms(main, alignment), _with_alignment(metrics, errors, error, gap, process.quantile(noisy.t))


class NoisySample(NamedTuple):
    """A noised batch: x_t and target (n, *space, c) float32, t (n,) in the noise process's own unit."""

    x_t: jax.Array
    t: jax.Array
    target: jax.Array


class LossTerms(NamedTuple):
    """The two terms of the LISA loss, scalar float32: `main`, and `align` before lam, None where it is left out."""

    main: jax.Array
    align: jax.Array | None

    def total(self, lam: jax.Array | float) -> jax.Array:
        """The loss, scalar float32: main + lam * align, the main term alone where there is no other."""
        return self.main if self.align is None else self.main + lam * self.align


@dataclasses.dataclass(frozen=True)
class Alignment:
    """What is aligned, and how; None in its place is plain training.

    Attributes:
      hooks: the features that decoders read; the decoders' errors are averaged.
      weighting: of the alignment term by noise level, see `lisa_jax.weighting`.
      every: one row of so many is aligned; must divide the rows of a (micro)batch.

    Raises:
      ValueError: no hook, a weighting that does not exist, or `every` below 1.
    """

    hooks: tuple[str, ...]
    weighting: str = UNIFORM
    every: int = 1

    def __post_init__(self) -> None:
        check_weighting(self.weighting)
        if not self.hooks or isinstance(self.hooks, str):
            raise ValueError(f"Hooks are {self.hooks!r}, but must be a tuple of names, at least one.")
        if self.every < 1:
            raise ValueError(f"lisa.align_every is {self.every}, but must be 1 (every row) or more.")

    def rows(self, tree: Tree, step: jax.Array | int) -> Tree:
        """The rows of a tree of arrays (n, ...) that are aligned at a step.

        Of every `every` neighbouring rows it is one, the next one at the next step. So rows that are split over devices
        stay where they are, if `every` divides the rows of a device, and the mean over the chosen rows is an unbiased
        estimate of the mean over all.

        Raises:
          ValueError: `every` does not divide n.
        """

        def choose(rows: jax.Array) -> jax.Array:
            if rows.shape[0] % self.every:
                raise ValueError(
                    f"The alignment takes one row of {self.every}, which does not divide a (micro)batch of "
                    f"{rows.shape[0]}: change lisa.align_every or the batch size."
                )
            return rows.reshape(-1, self.every, *rows.shape[1:])[:, step % self.every]

        return tree if self.every == 1 else jax.tree.map(choose, tree)


def add_noise(latents: jax.Array, key: jax.Array, process: Process) -> NoisySample:
    """Draw a noise level and noise for every example; latents (n, *space, c) float32 in model space."""
    t_key, noise_key = jax.random.split(key)
    t = process.sample_t(t_key, latents.shape[0])
    noise = jax.random.normal(noise_key, latents.shape, jnp.float32)
    return NoisySample(process.perturb(latents, noise, t), t, process.target(latents, noise, t))


def main_loss(
    main: Params, inputs: Mapping[str, Tree], noisy: NoisySample, *, model: DualBranch, process: Process
) -> tuple[jax.Array, LossMetrics]:
    """Loss of the main network alone, mse(main(x_t, t, y), target): what pretraining a base minimises."""
    x_t, t = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
    output = model.predict(main, model.trunk(main, x_t, t, inputs["context"]))
    error = squared_error(process.regressed(output, noisy.x_t, noisy.t), noisy.target)
    return jnp.mean(process.weight(noisy.t) * error), _main_metrics(error, noisy, process)


def squared_error(a: jax.Array, b: jax.Array | float) -> jax.Array:
    """Mean squared error of each example, float32: (n, ...) -> (n,)."""
    error = jnp.square(a.astype(jnp.float32) - b)
    return jnp.mean(error, axis=tuple(range(1, error.ndim)))


def _main_metrics(main: jax.Array, noisy: NoisySample, process: Process) -> LossMetrics:
    power = squared_error(noisy.target, 0.0)
    means = means_by_quartile(process.quantile(noisy.t), main_loss=main, target_power=power)
    return LossMetrics(means, noisy.t, main)


def _with_gate(found: LossMetrics, gate: Gate) -> LossMetrics:
    powers = {"residual_power": mean(gate.residuals), "joined_power": mean(gate.joined)}
    return found._replace(means=found.means | powers)


def _with_alignment(
    found: LossMetrics, errors: Mapping[str, jax.Array], error: jax.Array, gap: jax.Array, quantile: jax.Array
) -> LossMetrics:
    means = means_by_quartile(quantile, align_loss=error, gap_power=squared_error(gap, 0.0))
    if len(errors) > 1:
        means |= {f"align_loss/{hook}": mean(values) for hook, values in errors.items()}
    return found._replace(means=found.means | means)


@dataclasses.dataclass(frozen=True)
class LamSchedule:
    """Weight of the alignment term by training step.

    Attributes:
      value: weight at step 0.
      kind: "constant", or "linear" / "cosine": decay from `value` to 0 over `decay_steps`.
      decay_steps: length of the decay.
      stop_step: from this step on there is no alignment at all, and its cost is gone too; None: never.
    Raises:
      ValueError: an unknown kind, a value that is negative or not finite, a decay without a length or a length without
        a decay, or a stop before step 1.
    """

    value: float
    kind: str = "constant"
    decay_steps: int | None = None
    stop_step: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "linear", "cosine"):
            raise ValueError(f"Unknown lam schedule '{self.kind}': use constant, linear or cosine.")
        if not 0 <= self.value < math.inf:
            raise ValueError(f"lam is {self.value}: it must be 0 (plain training) or positive.")
        if self.kind != "constant" and (self.decay_steps is None or self.decay_steps <= 0):
            raise ValueError(f"lam schedule '{self.kind}' needs decay_steps > 0.")
        if self.kind == "constant" and self.decay_steps is not None:
            raise ValueError("lam schedule 'constant' takes no decay_steps: use linear or cosine.")
        if self.stop_step is not None and self.stop_step < 1:
            raise ValueError(
                f"stop_step is {self.stop_step}: it must be 1 or more; for no alignment at all set lam to 0."
            )

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """Weight at a step, traced or not; scalar float32."""
        lam = jnp.float32(self.value)
        if self.kind != "constant":
            progress = jnp.clip(step / self.decay_steps, 0.0, 1.0)
            lam *= 1.0 - progress if self.kind == "linear" else 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        return lam if self.stop_step is None else jnp.where(step < self.stop_step, lam, 0.0)

    def aligns(self, step: int) -> bool:
        """Whether a step (a Python number) has an alignment term: decides which compiled step runs."""
        decayed = self.kind != "constant" and step >= self.decay_steps
        stopped = self.stop_step is not None and step >= self.stop_step
        return self.value > 0 and not decayed and not stopped
