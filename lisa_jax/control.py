"""The loss that training of a side network runs, from a batch as the pipeline gives it; shared by every command.

`train` runs it, `bench` times it and `compile` proves it ahead of time.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.alignment import AlignedRows, LamSchedule, lisa_loss
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.families.family import Family, LatentSpace, TextSpace
from lisa_jax.metrics import LossMetrics
from lisa_jax.processes import Process
from lisa_jax.training.experiment import LossFn
from lisa_jax.training.inputs import model_inputs


@dataclasses.dataclass(frozen=True)
class ControlLosses:
    """The losses of a run.

    Attributes:
      loss_at: Python step -> the loss that runs at it, with or without the alignment term.
      validation: the main loss alone, without caption dropout.
    """

    loss_at: Callable[[int], LossFn]
    validation: LossFn


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
      ValueError: a hook that the side network does not have, or a lam schedule that does not exist.
    """
    lam, hook, every = lam_schedule(config), used_hook(config, model), config.lisa.align_every
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
            align=AlignedRows(every, step) if aligns and every > 1 else None,
        )

    aligned = partial(loss, aligns=True, caption_dropout=config.caption_dropout)
    plain = partial(loss, aligns=False, caption_dropout=config.caption_dropout)
    return ControlLosses(
        loss_at=lambda step: aligned if lam.aligns(step) else plain,
        validation=partial(loss, aligns=False, caption_dropout=0.0),
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


def used_hook(config: ConfigDict, model: DualBranch) -> str | None:
    """The hooked feature, or None in plain training; raises ValueError, listing the names, for one that is unknown."""
    return model.check_hook(config.lisa.hook) if config.lisa.lam > 0 else None
