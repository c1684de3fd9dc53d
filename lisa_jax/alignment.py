"""Likelihood Score Alignment (LISA, arXiv 2606.27192): the loss and the schedule of its weight.

For x_t at noise level t, text y, condition c and the regression target of the noise process:

    residuals, features = side(x_t, t, y, c)
    prediction          = main(x_t, t, y, residuals)
    prior               = stop_gradient(main(x_t, t, y))          same text, no control
    aligned             = decoder(features[hook], t)
    loss = mse(prediction, target) + lam * mse(aligned, stop_gradient(target - prior))

With several hooks each has a decoder, and the alignment term is the mean of theirs. `target - prior` is what the frozen
network cannot explain; up to a known factor (`Process.likelihood_score`) its conditional mean is the likelihood score
grad log p(c | x_t). `lam = 0` is plain training of the side network and compiles to exactly that: no prior, no decoder.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import DualBranch, Hook, Params, hook_names
from lisa_jax.metrics import LossMetrics, mean, means_by_quartile
from lisa_jax.processes import Process
from lisa_jax.weighting import UNIFORM, alignment_weight


class NoisySample(NamedTuple):
    """A noised batch: x_t and target (n, h, w, c) float32, t (n,) in the process's own unit."""

    x_t: jax.Array
    t: jax.Array
    target: jax.Array


def add_noise(latents: jax.Array, key: jax.Array, process: Process) -> NoisySample:
    """Draw a noise level and noise for every example; latents (n, h, w, c) float32 in model space."""
    t_key, noise_key = jax.random.split(key)
    t = process.sample_t(t_key, latents.shape[0])
    noise = jax.random.normal(noise_key, latents.shape, jnp.float32)
    return NoisySample(process.perturb(latents, noise, t), t, process.target(latents, noise, t))


@dataclasses.dataclass(frozen=True)
class AlignedRows:
    """Every `every`-th row of a batch, another one each step: alignment at a fraction of its cost.

    Each run of `every` neighbouring rows gives one, so rows that are split over devices stay where they are, as long as
    `every` divides the rows of a device. The mean over these rows estimates the mean over all without bias.

    Attributes:
      every: 1 / fraction of the batch; must divide the rows of a (micro)batch.
      step: training step, traced or not; which row of a run is taken rotates with it.
    """

    every: int
    step: jax.Array | int

    def rows_of(self, tree: Any) -> Any:
        """The chosen rows of a tree of arrays (n, ...); raises ValueError where `every` does not divide n."""

        def choose(rows: jax.Array) -> jax.Array:
            if rows.shape[0] % self.every:
                raise ValueError(
                    f"The alignment takes one row of {self.every}, which does not divide a (micro)batch of "
                    f"{rows.shape[0]}: change lisa.align_every or the batch size."
                )
            return rows.reshape(-1, self.every, *rows.shape[1:])[:, self.step % self.every]

        return jax.tree.map(choose, tree)


def lisa_loss(
    trainable: Mapping[str, Params],
    frozen: Params,
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    model: DualBranch,
    process: Process,
    lam: float | jax.Array,
    hook: Hook | None,
    align: AlignedRows | None = None,
    weighting: str = UNIFORM,
) -> tuple[jax.Array, LossMetrics]:
    """The LISA loss of a clean batch under noise drawn from `key`.

    Args:
      trainable: {"side": params, "decoder": params, by hook where there are several}; "decoder" is not read where lam
        is the number 0.
      frozen: the main network's parameters.
      batch: latents (n, h, w, c) float32, context (n, length, width), condition (n, H, W, 3) in [0, 1].
      key: PRNG key of this step.
      model: the dual-branch model.
      process: the noise process the main network was trained with.
      lam: weight of the alignment term; a traced array or a number. The number 0 leaves the term out.
      hook: name of the side feature that the decoder reads, or names of several, whose decoders' errors are averaged;
        None only where lam is the number 0.
      align: the rows that the alignment term is computed on; None: all.
      weighting: of the alignment term by noise level, see `lisa_jax.weighting`.

    Returns:
      Scalar float32 loss, and metrics whose means are `main_loss`, `target_power`, and with LISA `align_loss`,
      `gap_power`, overall and by quartile of the training noise levels (`main_loss_q1` lowest noise, ... `_q4`), with
      several hooks also `align_loss/<hook>`. None of them is weighted.
    Raises:
      ValueError: `hook` is not a feature of the side network, or `weighting` does not exist.
    """
    noisy = add_noise(batch["latents"], key, process)
    return lisa_loss_of_noisy(
        trainable,
        frozen,
        batch,
        noisy,
        model=model,
        process=process,
        lam=lam,
        hook=hook,
        align=align,
        weighting=weighting,
    )


def lisa_loss_of_noisy(
    trainable: Mapping[str, Params],
    frozen: Params,
    batch: Mapping[str, jax.Array],
    noisy: NoisySample,
    *,
    model: DualBranch,
    process: Process,
    lam: float | jax.Array,
    hook: Hook | None,
    align: AlignedRows | None = None,
    weighting: str = UNIFORM,
) -> tuple[jax.Array, LossMetrics]:
    """`lisa_loss` of a batch that is noised already."""
    aligns = not (isinstance(lam, int | float) and lam == 0)
    used = model.check_hook(hook) if aligns else None
    terms, found = lisa_terms(
        trainable, frozen, batch, noisy, model=model, process=process, hook=used, align=align, weighting=weighting
    )
    return terms.main + lam * terms.align if aligns else terms.main, found


class LossTerms(NamedTuple):
    """The two terms of the LISA loss, scalar float32: `main`, and `align` before lam, None where it is left out."""

    main: jax.Array
    align: jax.Array | None


def lisa_terms(
    trainable: Mapping[str, Params],
    frozen: Params,
    batch: Mapping[str, jax.Array],
    noisy: NoisySample,
    *,
    model: DualBranch,
    process: Process,
    hook: Hook | None,
    align: AlignedRows | None = None,
    weighting: str = UNIFORM,
) -> tuple[LossTerms, LossMetrics]:
    """The terms of `lisa_loss_of_noisy` one by one; a hook that is None leaves the alignment out, with its cost."""
    frozen = jax.lax.stop_gradient(frozen)
    x_t, t = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)

    trunk = model.trunk(frozen, x_t, t, batch["context"])
    residuals, features = model.side(trainable["side"], x_t, t, batch["context"], batch["condition"])
    prediction = model.predict(frozen, trunk, residuals)

    quantile = process.quantile(noisy.t)
    main = squared_error(prediction, noisy.target)
    main_term = jnp.mean(process.weight(noisy.t) * main)
    means = means_by_quartile(quantile, main_loss=main, target_power=squared_error(noisy.target, 0.0))
    if hook is None:
        return LossTerms(main_term, None), LossMetrics(means, noisy.t, main)

    hooked = {name: features[name] for name in hook_names(hook)}
    parts = (trunk, hooked, t, noisy.target, alignment_weight(weighting, process, noisy.t), quantile)
    trunk, hooked, t, target, weight, quantile = parts if align is None else align.rows_of(parts)
    prior = jax.lax.stop_gradient(model.predict(frozen, trunk))
    gap = jax.lax.stop_gradient(target - prior.astype(jnp.float32))
    aligned = model.decode_each(trainable["decoder"], hooked, hook, t, gap.shape)
    errors = {name: squared_error(estimate, gap) for name, estimate in aligned.items()}
    error = functools.reduce(operator.add, errors.values()) / len(errors)
    means |= means_by_quartile(quantile, align_loss=error, gap_power=squared_error(gap, 0.0))
    if len(errors) > 1:
        means |= {f"align_loss/{name}": mean(values) for name, values in errors.items()}
    return LossTerms(main_term, jnp.mean(weight * error)), LossMetrics(means, noisy.t, main)


def main_loss(
    main: Params, batch: Mapping[str, jax.Array], key: jax.Array, *, model: DualBranch, process: Process
) -> tuple[jax.Array, LossMetrics]:
    """Loss of the main network alone, mse(main(x_t, t, y), target): what pretraining a base minimises."""
    noisy = add_noise(batch["latents"], key, process)
    x_t, t = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
    error = squared_error(model.predict(main, model.trunk(main, x_t, t, batch["context"])), noisy.target)
    means = means_by_quartile(process.quantile(noisy.t), main_loss=error, target_power=squared_error(noisy.target, 0.0))
    return jnp.mean(process.weight(noisy.t) * error), LossMetrics(means, noisy.t, error)


def squared_error(a: jax.Array, b: jax.Array | float) -> jax.Array:
    """Mean squared error of each example, float32: (n, ...) -> (n,)."""
    error = jnp.square(a.astype(jnp.float32) - b)
    return jnp.mean(error, axis=tuple(range(1, error.ndim)))


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
