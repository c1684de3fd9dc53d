"""Training side networks: the experiment of a config, whatever the family; shared by every command that trains.

`train` runs it, `bench` times it, `compile` proves it ahead of time, and studies run many of it.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.alignment import Alignment, LamSchedule, LossTerms, add_noise, lisa_loss
from lisa_jax.dual_branch import DualBranch, Params, Tree, parse_hooks
from lisa_jax.experiments.data_identity import data_identity
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.experiments.learning_rates import rate_factors
from lisa_jax.experiments.upgrade import upgrade
from lisa_jax.families.family import Family
from lisa_jax.metrics import LossMetrics
from lisa_jax.objective import Objective, with_times
from lisa_jax.parallel.sharding import row_blocks
from lisa_jax.processes import Process
from lisa_jax.training.diagnostics import gradient_shares
from lisa_jax.training.experiment import Diagnostic, DiagnosticFn, Experiment, LossFn

_LOG = logging.getLogger("lisa_jax")


def control_experiment(
    config: ConfigDict, family: Family, frozen: Params, empty: Tree, data_fingerprint: str | None = None
) -> Experiment:
    """The experiment whose trainable tree is the side networks and their alignment decoders, without its data.

    Args:
      config: of `lisa_jax train`.
      family: the base with its side networks, or its architecture alone.
      frozen: what the step reads and does not train, arrays or shapes, see `Split.frozen`.
      empty: context of the empty caption, (1, ...).
      data_fingerprint: of the data set that it will train on, which its checkpoints are bound to.

    Raises:
      ValueError: a hook or a group of layers that the side networks do not have, a lam schedule or a
        weighting that does not exist, or a weighting that does not fit the noise process.
    """
    losses = control_losses(config, family, empty)
    align = alignment_of(config, family.model)
    every = config.diagnostics_every
    return Experiment(
        frozen=frozen,
        init=partial(_init, model=family.model, hooks=() if align is None else align.hooks),
        loss_at=losses.loss_at,
        load_start=family.read_start,
        unit=family.medium.unit,
        identity=identity(config, family) | data_identity(config, data_fingerprint),
        upgrade=upgrade(config, data_fingerprint),
        rules=family.rules,
        rate_factors=rate_factors(config, family.model),
        diagnostic=None if every is None else Diagnostic(every, losses.gradients_at),
    )


def _init(start: Params, key: jax.Array, *, model: DualBranch, hooks: tuple[str, ...]) -> Params:
    return model.init_trainable(start, key, hooks)


@dataclasses.dataclass(frozen=True)
class ControlLosses:
    """The losses of a run.

    Attributes:
      loss_at: Python step -> the loss that runs at it, with or without the alignment term.
      validation: the main loss alone, without caption dropout.
      measured: both terms where there is alignment, without caption dropout, for those who look at the decoders too.
      gradients_at: Python step -> what compares the gradients of its two terms on the side networks' trunk (see
        `gradient_shares`); None where the step has one term only.
    """

    loss_at: Callable[[int], LossFn]
    validation: LossFn
    measured: LossFn
    gradients_at: Callable[[int], DiagnosticFn | None]


def control_losses(config: ConfigDict, family: Family, empty: Tree) -> ControlLosses:
    """Make the losses of a config (fields loss, lisa, caption_dropout); the other arguments as `control_experiment`."""
    lam, align = lam_schedule(config), alignment_of(config, family.model)
    objective = objective_of(config, family.process)

    def terms(
        params, frozen, inputs, *, key, step, align, caption_dropout=config.caption_dropout
    ) -> tuple[LossTerms, LossMetrics]:
        """The loss's terms of a batch; its latents, noise levels, noise and dropped captions come from the key."""
        input_key, noise_key = jax.random.split(key)
        encoded = model_inputs(inputs, input_key, frozen, family=family, empty=empty, caption_dropout=caption_dropout)
        noisy = add_noise(encoded["latents"], noise_key, objective)
        networks = {"model": family.model, "process": objective}
        return lisa_loss(params, frozen["main"], encoded, noisy, align=align, step=step, **networks)

    def loss(params, frozen, inputs, *, key, step, **how) -> tuple[jax.Array, LossMetrics]:
        found, metrics = terms(params, frozen, inputs, key=key, step=step, **how)
        return found.total(lam(step)), metrics

    def gradients(params, frozen, inputs, *, key, step) -> dict[str, jax.Array]:
        def both(side: Params) -> tuple[jax.Array, jax.Array]:
            found, _ = terms(params | {"side": side}, frozen, inputs, key=key, step=step, align=align)
            return found.main, lam(step) * found.align

        shares = gradient_shares(both, params["side"], family.model.side_trunk)
        values = {"main": shares.main, "lam_align": shares.align, "ratio": shares.ratio, "cosine": shares.cosine}
        return {f"trunk_gradient/{name}": value for name, value in values.items()}

    aligned, plain = partial(loss, align=align), partial(loss, align=None)
    return ControlLosses(
        loss_at=lambda step: aligned if lam.aligns(step) else plain,
        validation=partial(loss, align=None, caption_dropout=0.0),
        measured=partial(loss, align=align, caption_dropout=0.0),
        gradients_at=lambda step: gradients if lam.aligns(step) else None,
    )


def objective_of(config: ConfigDict, process: Process) -> Objective:
    """A noise process as the loss of a config sees it (field `loss`).

    Raises:
      ValueError: a weighting or noise levels that do not fit the noise process.
    """
    process = with_times(process, config.loss.times)
    return Objective(process, config.loss.space, config.loss.weighting, config.loss.min_snr_gamma)


def lam_schedule(config: ConfigDict) -> LamSchedule:
    """The weight of the alignment term by step."""
    lisa = config.lisa
    return LamSchedule(lisa.lam, lisa.schedule, lisa.decay_steps, lisa.stop_step)


def alignment_of(config: ConfigDict, model: DualBranch) -> Alignment | None:
    """What a config aligns (`lisa.hook`: one name, or several with commas between), and how; None in plain training.

    Raises:
      ValueError: a name that the side networks do not have, lists those that they have; or as `Alignment`.
    """
    lisa = config.lisa
    align = Alignment(parse_hooks(lisa.hook), lisa.weighting, lisa.align_every)
    if not lisa.lam > 0:
        return None
    model.check_hooks(align.hooks)
    return align


def check_aligned_rows(config: ConfigDict, mesh: Mesh) -> None:
    """Warn where one aligned row of `lisa.align_every` saves less than it says: results are right, but rows move.

    Args:
      config: fields batch_size, accumulate, lisa.
      mesh: its data and fsdp axes split the rows.
    """
    every, rows = config.lisa.align_every, config.batch_size // (config.accumulate * row_blocks(mesh))
    if config.lisa.lam > 0 and rows % every:
        _LOG.warning(
            "lisa.align_every %d does not divide the %d rows that a device has of a microbatch: devices exchange rows "
            "and save less. Use a larger batch_size, a smaller accumulate or a divisor of %d.",
            every,
            rows,
            rows,
        )


def identity(config: ConfigDict, family: Family) -> Mapping[str, Any]:
    """What two runs that share checkpoints must share, beside their data."""
    align = alignment_of(config, family.model)
    return {
        "base": family.fingerprint,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "frozen_dtype": config.frozen_dtype,
        "side_networks": tuple(family.model.sides),
        "loss_space": config.loss.space,
        "hook": None if align is None else align.hooks,
        "condition_channels": tuple(config.condition_channels),
        "side": config.side.to_dict(),
        "ema_decay": config.ema_decay,
        "optimizer": config.optimizer.name,
        "decoder_width": 1.0 if align is None else config.lisa.decoder_width,
    }
