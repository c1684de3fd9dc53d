"""Training runs: what identifies one, and reading one back."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.experiments.base import load_family
from lisa_jax.experiments.control import decoder_width, used_hook
from lisa_jax.families.family import Family
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import state_initialiser
from lisa_jax.training.tracking import CONFIG_FILE


def read_config(workdir: str | Path) -> ConfigDict:
    """The config of a work directory; raises FileNotFoundError where no run was started."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the --workdir of a training run.")
    return ConfigDict(json.loads(path.read_text()))


def trainable_init(config: ConfigDict, family: Family) -> Callable[[Params, jax.Array], Params]:
    """(start, key) -> side network, and decoder where there is LISA."""
    hook = used_hook(config, family.model)
    return lambda start, key: family.model.init_trainable(start, key, hook)


def identity(config: ConfigDict, family: Family) -> dict[str, Any]:
    """What two runs that share checkpoints must share."""
    width = decoder_width(config) if config.lisa.lam > 0 else 1.0
    return {
        "base": family.fingerprint,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "frozen_dtype": config.frozen_dtype,
        "data": config.data.to_dict(),
        "hook": used_hook(config, family.model),
        "condition_channels": tuple(config.condition_channels),
        "side": config.side.to_dict(),
        "ema_decay": config.ema_decay,
        # Checkpoints from before there was a choice say nothing of it.
        **({} if width == 1 else {"decoder_width": width}),
    }


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A training run, read back.

    Attributes:
      config: its config.
      family: its family.
      side: the side network's parameters.
      decoder: the alignment decoder's, None of plain training.
      step: the training steps that they had.
    """

    config: ConfigDict
    family: Family
    side: Params
    decoder: Params | None
    step: int


def load_run(workdir: str | Path, weights: str = "auto") -> TrainedRun:
    """Read the newest checkpoint of a training run.

    Args:
      workdir: the run's directory.
      weights: "ema", "raw", or "auto": the moving average where the run keeps one.

    Raises:
      FileNotFoundError: no run, or no checkpoint in it.
      ValueError: "ema" of a run that keeps none.
      ResumeError: the base has changed since, or no checkpoint can be read.
    """
    config = read_config(workdir)
    family = load_family(config)
    optimizer = make_optimizer(config.optimizer, learning_rate_schedule(config.optimizer, config.num_steps))
    # From nothing: only shapes are asked for.
    init = partial(trainable_init(config, family), {})
    initialise = state_initialiser(init, optimizer, ema=config.ema_decay is not None)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(initialise, jax.random.key(0)),
    )
    # Here, for Orbax takes seconds to import and not every command reads a run.
    from lisa_jax.training.checkpoint import Checkpoints

    checkpoints = Checkpoints(workdir, config.keep, identity(config, family), read_only=True)
    state = checkpoints.restore(like)
    checkpoints.close()
    if state is None:
        raise FileNotFoundError(f"{workdir} has no checkpoint yet: train for config.save_every steps first.")
    if weights == "ema" and state.ema is None:
        raise ValueError(f"{workdir} keeps no moving average: use --weights=raw, or train with --config.ema_decay.")
    params = state.params if weights == "raw" else state.eval_params
    return TrainedRun(config, family, params["side"], params.get("decoder"), int(state.step))
