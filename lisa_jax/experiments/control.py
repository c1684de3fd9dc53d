"""The loss that training of a side network runs, from a batch as the pipeline gives it; shared by every command.

`train` runs it, `bench` times it and `compile` proves it ahead of time.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.alignment import AlignedRows, LamSchedule, add_noise, lisa_loss, lisa_terms
from lisa_jax.dual_branch import DualBranch, Hook, Params, parse_hook
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.families.family import Family, LatentSpace, TextSpace
from lisa_jax.metrics import LossMetrics
from lisa_jax.parallel.sharding import row_blocks
from lisa_jax.processes import Process
from lisa_jax.training.diagnostics import gradient_shares
from lisa_jax.training.experiment import DiagnosticFn, LossFn
from lisa_jax.weighting import UNIFORM, check_weighting

_LOG = logging.getLogger("lisa_jax")


@dataclasses.dataclass(frozen=True)
class ControlLosses:
    """The losses of a run.

    Attributes:
      loss_at: Python step -> the loss that runs at it, with or without the alignment term.
      validation: the main loss alone, without caption dropout.
      gradients_at: Python step -> what compares the gradients of its two terms on the side network's trunk (see
        `gradient_shares`); None where the step has one term only.
    """

    loss_at: Callable[[int], LossFn]
    validation: LossFn
    gradients_at: Callable[[int], DiagnosticFn | None]


def control_losses(
    config: ConfigDict,
    *,
    model: DualBranch,
    process: Process,
    latents: LatentSpace,
    text: TextSpace,
    null_context: jax.Array,
) -> ControlLosses:
    """Make the losses of a config.

    Args:
      config: fields lisa, caption_dropout.
      model: the dual-branch model.
      process: its noise process.
      latents: its latent space.
      text: its text encoder.
      null_context: (1, length, width) context of the empty caption.

    Raises:
      ValueError: a hook that the side network does not have, or a lam schedule or a weighting that does not exist.
    """
    lam, hook, every = lam_schedule(config), used_hook(config, model), config.lisa.align_every
    # Configs of older runs have none.
    weighting = check_weighting(config.lisa.get("weighting", UNIFORM))
    if every < 1:
        raise ValueError(f"lisa.align_every is {every}, but must be 1 (every row) or more.")
    inputs_of = partial(model_inputs, latents=latents, text=text, null_context=null_context)

    def loss(
        params: Params,
        frozen: Mapping[str, Params],
        batch: Mapping[str, Any],
        key: jax.Array,
        step: jax.Array | int,
        aligns: bool,
        caption_dropout: float,
    ) -> tuple[jax.Array, LossMetrics]:
        input_key, noise_key = jax.random.split(key)
        inputs = inputs_of(batch, input_key, frozen, caption_dropout=caption_dropout)
        return lisa_loss(
            params,
            frozen["main"],
            inputs,
            noise_key,
            model=model,
            process=process,
            lam=lam(step) if aligns else 0,
            hook=hook,
            align=rows_at(step) if aligns else None,
            weighting=weighting,
        )

    def rows_at(step: jax.Array | int) -> AlignedRows | None:
        return AlignedRows(every, step) if every > 1 else None

    def gradients(
        params: Params,
        frozen: Mapping[str, Params],
        batch: Mapping[str, Any],
        key: jax.Array,
        step: jax.Array | int,
    ) -> dict[str, jax.Array]:
        input_key, noise_key = jax.random.split(key)
        inputs = inputs_of(batch, input_key, frozen, caption_dropout=config.caption_dropout)
        noisy = add_noise(inputs["latents"], noise_key, process)

        def terms(side: Params) -> tuple[jax.Array, jax.Array]:
            both, _ = lisa_terms(
                params | {"side": side},
                frozen["main"],
                inputs,
                noisy,
                model=model,
                process=process,
                hook=hook,
                align=rows_at(step),
                weighting=weighting,
            )
            return both.main, lam(step) * both.align

        shares = gradient_shares(terms, params["side"], model.side_trunk)
        found = {"main": shares.main, "lam_align": shares.align, "ratio": shares.ratio, "cosine": shares.cosine}
        return {f"trunk_gradient/{name}": value for name, value in found.items()}

    aligned = partial(loss, aligns=True, caption_dropout=config.caption_dropout)
    plain = partial(loss, aligns=False, caption_dropout=config.caption_dropout)
    return ControlLosses(
        loss_at=lambda step: aligned if lam.aligns(step) else plain,
        validation=partial(loss, aligns=False, caption_dropout=0.0),
        gradients_at=lambda step: gradients if lam.aligns(step) else None,
    )


def family_losses(config: ConfigDict, family: Family, null_context: np.ndarray) -> ControlLosses:
    """`control_losses` of a config beside a loaded family."""
    return control_losses(
        config,
        model=family.model,
        process=family.process,
        latents=family.latents,
        text=family.encode_text,
        null_context=jnp.asarray(null_context),
    )


def lam_schedule(config: ConfigDict) -> LamSchedule:
    """The weight of the alignment term by step."""
    lisa = config.lisa
    return LamSchedule(lisa.lam, lisa.schedule, lisa.decay_steps, lisa.stop_step)


def used_hook(config: ConfigDict, model: DualBranch) -> Hook | None:
    """The hooked features of a config (`lisa.hook`: one name, or several with commas between); None in plain training.

    Raises:
      ValueError: a name that the side network does not have; lists those that it has.
    """
    return model.check_hook(parse_hook(config.lisa.hook)) if config.lisa.lam > 0 else None


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


def decoder_width(config: ConfigDict) -> float:
    """Factor on the hidden channels of the alignment decoders; 1 in configs of older runs, which do not say."""
    return config.lisa.get("decoder_width", 1.0)
