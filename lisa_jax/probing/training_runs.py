"""Probes of a training run: its newest checkpoint beside its own step 0."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from lisa_jax.evaluation.tasks import task_of
from lisa_jax.experiments.control import alignment_of, objective_of
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.experiments.splits import load_split
from lisa_jax.parallel.compiling import Announced
from lisa_jax.probing.instrument import Instrument
from lisa_jax.probing.split_pictures import split_pictures
from lisa_jax.studies.grid import written_hook
from lisa_jax.studies.training_config import unusual_training
from lisa_jax.training.program import run_keys


def probe_run(workdir: str | Path, weights: str = "auto", trusted: Collection[str] = ()) -> dict[str, Any]:
    """Probe the newest checkpoint of a training run and return its line, see `records`.

    Args:
      workdir: the run's directory.
      weights: as of `load_run`.
      trusted: as of `load_split`.

    Raises:
      FileNotFoundError, ValueError, ResumeError: as `load_run`; ValueError also for a data set of too few pictures.
    """
    run = load_run(workdir, weights)
    config, family = run.config, run.family
    pictures = split_pictures(partial(load_split, config, family, trusted=trusted))
    instrument = Instrument(family, objective_of(config, family.process), pictures)
    init_key, _ = run_keys(config.seed)
    init = Announced(partial(family.model.init_trainable, hooks=()), "the first state", position=0)
    untrained = init(family.read_start(), init_key)["side"]
    align = alignment_of(config, family.model)
    alignment = {name: value for name, value in config.lisa.to_dict().items() if name not in ("lam", "hook")}
    described = {
        "id": Path(workdir).resolve().name,
        "lam": config.lisa.lam,
        "hook": None if align is None else written_hook(align.hooks),
        "task": task_of(run.side),
        "step": run.step,
        "seed": config.seed,
        "setting": {
            "data": config.data.name,
            "learning_rate": config.optimizer.learning_rate,
            "batch_size": config.batch_size,
            "num_steps": config.num_steps,
            "compute_dtype": config.compute_dtype,
            "base": family.fingerprint[:8],
            **unusual_training(config),
        },
        "alignment": {} if align is None else alignment,
    }
    trainable = {"side": run.side, "decoder": run.decoder}
    return instrument.record(instrument.scores(untrained), trainable, align, described)
