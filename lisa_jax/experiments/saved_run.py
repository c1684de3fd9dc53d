"""Training runs, read back."""

import dataclasses
from pathlib import Path

import jax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.experiments.base import load_base
from lisa_jax.experiments.control import control_experiment
from lisa_jax.experiments.fields import NETWORKS, check_control, check_pretraining
from lisa_jax.families.family import Family
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.parallel.messages import one_line
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.program import make_program
from lisa_jax.training.tracking import CONFIG_FILE


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A training run, read back.

    Attributes:
      config: its config.
      family: its family.
      side: the side networks' parameters by name.
      decoder: the alignment decoders', None of plain training.
      step: the training steps that they had.
    """

    config: ConfigDict
    family: Family
    side: dict[str, Params]
    decoder: Params | None
    step: int


def read_config(workdir: str | Path) -> ConfigDict:
    """The config of a work directory, in today's words.

    Raises:
      FileNotFoundError: no run was started there.
      ValueError: as `read_config_file`, or it is of a run of `pretrain`.
    """
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the --workdir of a training run.")
    return check_control(_read(path), f"{path}: config")


def read_config_file(path: Path) -> ConfigDict:
    """The config that a run of `train` or `pretrain` wrote, in today's words.

    Raises:
      ValueError: the file is damaged; names the field that is wrong.
    """
    config = _read(path)
    check = check_pretraining if any(network in config for network in NETWORKS) else check_control
    return check(config, f"{path}: config")


def _read(path: Path) -> ConfigDict:
    try:
        return ConfigDict(read_object(path))
    except JsonError as error:
        raise ValueError(f"{error}, but must be the config of a training run.") from error
    # A name that no field can have, as one with a dot in it.
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not the config of a training run: {one_line(error)}") from error


def load_run(workdir: str | Path, weights: str = "auto") -> TrainedRun:
    """Read a checkpoint of a training run, onto one device: the newest one, unless it is to be the best.

    Args:
      workdir: the run's directory.
      weights: one of `WEIGHTS`: "ema", "raw", "auto", which is the moving average where the run keeps one, or "best",
        the same of the checkpoint that validated best.

    Raises:
      FileNotFoundError: no run, or no such checkpoint in it.
      ValueError: "ema" or "best" of a run that keeps none, or a config that is damaged.
      ResumeError: the base has changed since, or no checkpoint can be read.
    """
    config, wants_best = read_config(workdir), weights == "best"
    if wants_best and config.keep_best is None:
        raise ValueError(
            f"{workdir} keeps no best checkpoint: use --weights=auto, or train with "
            "--config.keep_best=validation/main_loss."
        )
    family = load_base(config)
    # No data and no frozen weights: only what a checkpoint looks like is asked for.
    experiment = control_experiment(config, family, frozen={}, empty=None)
    program = make_program(experiment, config, make_mesh(devices=jax.devices()[:1]))
    # Here, for Orbax takes seconds to import and not every command reads a run.
    from lisa_jax.training.checkpoint import Checkpoints

    of_run = (workdir, config.keep, experiment.identity, experiment.upgrade)
    with Checkpoints(*of_run, keep_best=config.keep_best, read_only=True) as checkpoints:
        state = checkpoints.restore_best(program.state) if wants_best else checkpoints.restore(program.state)
    if state is None:
        kind, every = ("validated checkpoint", "eval_every") if wants_best else ("checkpoint", "save_every")
        raise FileNotFoundError(f"{workdir} has no {kind} yet: train for config.{every} steps first.")
    if weights == "ema" and state.ema is None:
        raise ValueError(f"{workdir} keeps no moving average: use --weights=raw, or train with --config.ema_decay.")
    params = state.params if weights == "raw" else state.eval_params
    return TrainedRun(config, family, params["side"], params.get("decoder"), int(state.step))
