"""The scheduler of a checkpoint, which says what noise its main network was trained with."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.scheduler import SCHEDULER_CONFIG, process_of
from lisa_jax.parallel.messages import one_line
from lisa_jax.processes import Process

_LOG = logging.getLogger("lisa_jax")
# Classes that sample in few steps what was distilled for them.
_FEW_STEPS = ("LCMScheduler", "TCDScheduler")


def read_scheduler(checkpoint: Checkpoint, kind: type[Process], wanted: str) -> dict[str, Any]:
    """The fields of the scheduler's config.

    Args:
      checkpoint: of a base.
      kind: of noise process that the base's family has.
      wanted: what the family is, for the message: "Stable Diffusion is a discrete diffusion".

    Raises:
      CheckpointError: a config that is missing or not supported, or describes another kind.
    """
    found = checkpoint.config("scheduler", SCHEDULER_CONFIG)
    where = checkpoint.where("scheduler", SCHEDULER_CONFIG)
    try:
        process = process_of(found)
    except ValueError as error:
        raise CheckpointError(f"{where}: {one_line(error, 500)}") from error
    if not isinstance(process, kind):
        raise CheckpointError(
            f"{where} describes {type(process).__name__}, but {wanted}: take a base that was trained as one."
        )
    return found


def write_scheduler(folder: Path, scheduler: Mapping[str, Any]) -> None:
    """Write `scheduler_config.json` into a checkpoint's component `scheduler`; the fields name their class."""
    fields = {name: value for name, value in scheduler.items() if name != "_class_name"}
    write_config(folder / "scheduler", fields, scheduler["_class_name"], name=SCHEDULER_CONFIG)


def tell_few_steps(checkpoint: Checkpoint, scheduler: Mapping[str, Any]) -> None:
    """Tell of a diffusion that was distilled for few steps, as far as the fields of its scheduler's config show it.

    It can be trained beside: its other configs are those of the base that it comes from.
    """
    name = scheduler.get("_class_name")
    # Those that predict v are sampled from the last step on without that, too.
    predicts_noise = scheduler.get("prediction_type", "epsilon") == "epsilon"
    if name in _FEW_STEPS or (predicts_noise and scheduler.get("timestep_spacing") == "trailing"):
        _LOG.warning(
            "%s has %s, as bases that were distilled for few steps (Turbo, Lightning, LCM): if this is one, train "
            "beside the base that it comes from, and use the ControlNet with this one then.",
            checkpoint.where("scheduler", SCHEDULER_CONFIG),
            name if name in _FEW_STEPS else "timestep_spacing trailing",
        )
