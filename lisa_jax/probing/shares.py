"""Shares of the gap: what the alignment decoder, and what the controlled network, explain of `target - prior`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lisa_jax import metrics
from lisa_jax.alignment import NoisySample, lisa_loss_of_noisy, squared_error
from lisa_jax.dual_branch import DualBranch, Hook, Params
from lisa_jax.evaluation import gaussian
from lisa_jax.metrics import Mean, mean
from lisa_jax.processes import Process


def gap_losses(
    trainable: Mapping[str, Params],
    frozen: Params,
    batch: Mapping[str, Any],
    noisy: NoisySample,
    *,
    model: DualBranch,
    process: Process,
    hook: Hook | None,
) -> dict[str, Mean]:
    """`main_loss`, `gap_power` and, with a hook, `align_loss` of a batch, as `lisa_loss` reports them.

    With several hooks also `align_loss/<hook>`.

    Args:
      trainable: {"side": params} and, with a hook, "decoder".
      frozen: the main network's parameters.
      batch: context and condition, as `lisa_loss` reads them.
      noisy: the noisy sample; its target decides what "explained" means. The drawn target has noise that nobody can
        explain; with `true_target` the shares are R^2 against the true likelihood score.
      model: the dual-branch model.
      process: its noise process.
      hook: what the decoder reads; None in plain training.
    """
    loss = partial(lisa_loss_of_noisy, trainable, frozen, batch, noisy, model=model, process=process)
    if hook is not None:
        means = loss(lam=1.0, hook=hook)[1].means
        return {n: m for n, m in means.items() if n in ("main_loss", "gap_power", "align_loss") or "/" in n}
    x_t, t = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
    prior = model.predict(frozen, model.trunk(frozen, x_t, t, batch["context"]))
    power = squared_error(noisy.target, prior.astype(jnp.float32))
    return {"main_loss": loss(lam=0, hook=None)[1].means["main_loss"], "gap_power": mean(power)}


def explained(losses: Mapping[str, Mean]) -> dict[str, float | None]:
    """Shares of the gap's power that are explained: 1 is all of it, 0 what the main network alone does.

    Returns:
      `r2`: 1 - align_loss / gap_power of the decoder, None without one; with several hooks the mean of their decoders,
      each of which has `r2/<hook>`. `network_r2`: 1 - main_loss / gap_power of the controlled network.
    Raises:
      ValueError: there is no gap.
    """
    values = metrics.summarise(losses)
    if not values["gap_power"] > 0:
        raise ValueError("The main network predicts the target exactly: there is no gap to explain.")
    left = {"r2": values.get("align_over_gap"), "network_r2": values["main_over_gap"]}
    left |= {f"r2/{n.partition('/')[2]}": value for n, value in values.items() if n.startswith("align_over_gap/")}
    return {name: None if value is None else 1 - value for name, value in left.items()}


def true_target(
    mixture: gaussian.GaussianMixture,
    matrix: jax.Array,
    noise_std: float,
    process: Process,
    noisy: NoisySample,
    condition: jax.Array,
) -> NoisySample:
    """The noisy sample with the conditional mean of its target, known where data is a Gaussian mixture.

    With the exact prior as the main network the gap is then a number times the true likelihood score, so that
    `explained` gives R^2 against it, noise level by noise level. Arguments are those of `gaussian.likelihood_score`.
    """
    score = gaussian.prior_score(mixture, process, noisy.x_t, noisy.t)
    score += gaussian.likelihood_score(mixture, matrix, noise_std, process, noisy.x_t, noisy.t, condition)
    return noisy._replace(target=gaussian.score_to_prediction(score, process, noisy.x_t, noisy.t))
