"""Telling that a resumed run goes on with other learning rates than those that it stopped at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.training.learning_rate import learning_rate_schedule, schedule_length
from lisa_jax.training.tracking import CONFIG_FILE

# Relative; what a longer schedule changes is far more.
_SAME = 1e-3
# Rates that parts of what trains have over the rest's, and what they were before there was a choice.
_OWN_RATES = {"decoder_rate": 1.0, "fresh_rate": 1.0, "fresh_layers": None, "fresh_steps": None}


def rate_change(workdir: str | Path, config: ConfigDict, step: int) -> str | None:
    """What to say where the config that a work directory holds has another learning rate at a step than `config`.

    Args:
      workdir: of a run that goes on; its `config.json` is of its last start.
      config: of this start.
      step: the steps that are done.
    """
    try:
        before = read_object(Path(workdir) / CONFIG_FILE)
        then, today = _rate(before, step), float(learning_rate_schedule(config.optimizer, config.num_steps)(step))
    # It is only for this sentence that it is read.
    except (OSError, JsonError, KeyError, TypeError, ValueError):
        return None
    told = [_own_rates_change(before["optimizer"], config.optimizer, step)]
    if abs(then - today) > _SAME * max(then, today):
        told.insert(0, _schedule_change(before, config, then, today, step))
    return " ".join(filter(None, told)) or None


def _schedule_change(before: Mapping[str, Any], config: ConfigDict, then: float, today: float, step: int) -> str:
    return (
        f"The learning rate goes from {then:.3g} to {today:.3g} at step {step}: the schedule was {_described(before)} "
        f"and is {_described(config.to_dict())} now. optimizer.schedule_steps sets its length, whatever num_steps is."
    )


def _own_rates_change(before: Mapping[str, Any], today: ConfigDict, step: int) -> str:
    changes = ((name, before.get(name, usual), today.get(name, usual)) for name, usual in _OWN_RATES.items())
    return " ".join(
        f"optimizer.{name} goes from {old} to {new} at step {step}." for name, old, new in changes if old != new
    )


def _rate(fields: Mapping[str, Any], step: int) -> float:
    return float(learning_rate_schedule(ConfigDict(fields["optimizer"]), fields["num_steps"])(step))


def _described(fields: Mapping[str, Any]) -> str:
    optimizer = fields["optimizer"]
    length = schedule_length(ConfigDict(optimizer), fields["num_steps"])
    over = f" over {length} steps" if optimizer["schedule"] != "constant" else ""
    return f"{optimizer['schedule']}{over} from {optimizer['learning_rate']:g}"
