"""Shares of the gap: what the alignment decoder, and what the controlled network, explain of `target - prior`."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from lisa_jax import metrics
from lisa_jax.alignment import Alignment, NoisySample, lisa_loss, squared_error
from lisa_jax.dual_branch import DualBranch, Params, Tree
from lisa_jax.metrics import Mean, mean
from lisa_jax.processes import Process


def gap_losses(
    trainable: Mapping[str, Params],
    frozen: Params,
    inputs: Mapping[str, Tree],
    noisy: NoisySample,
    *,
    model: DualBranch,
    process: Process,
    align: Alignment | None,
) -> dict[str, Mean]:
    """`main_loss`, `gap_power` and, with alignment, `align_loss` of a batch, as `lisa_loss` reports them.

    With several hooks also `align_loss/<hook>`.

    Args:
      trainable: {"side": params} and, with alignment, "decoder".
      frozen: the main network's parameters.
      inputs: context and condition, as `lisa_loss` reads them.
      noisy: the noisy sample; its target decides what "explained" means. The drawn target has noise that nobody can
        explain; where the conditional mean of the target is known, the shares are R^2 against the likelihood score.
      model: the dual-branch model.
      process: its noise process, or the `Objective` that the decoders were trained with.
      align: what the decoders read; None in plain training.
    """
    if align is not None:
        # Shares are of all rows, however few are aligned in a step.
        align = dataclasses.replace(align, every=1)
    _, found = lisa_loss(trainable, frozen, inputs, noisy, model=model, process=process, align=align)
    if align is not None:
        return {n: m for n, m in found.means.items() if n in ("main_loss", "gap_power", "align_loss") or "/" in n}
    x_t, t = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
    output = model.predict(frozen, model.trunk(frozen, x_t, t, inputs["context"]))
    prior = process.regressed(output, noisy.x_t, noisy.t)
    power = squared_error(noisy.target, prior.astype(jnp.float32))
    return {"main_loss": found.means["main_loss"], "gap_power": mean(power)}


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
