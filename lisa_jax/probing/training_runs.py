"""Probes of a training run: its newest checkpoint beside its own step 0."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lisa_jax.data.pipeline import Batches
from lisa_jax.evaluation.tasks import task_of
from lisa_jax.experiments.control import alignment_of
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.experiments.splits import load_split
from lisa_jax.experiments.trained_run import TrainedRun, load_run
from lisa_jax.probing.instrument import Instrument
from lisa_jax.probing.pictures import COUNTS, Pictures, probe_pictures
from lisa_jax.studies.grid import written_hook
from lisa_jax.training.program import run_keys

# Rows that are encoded at a time.
ENCODE_BATCH = 16


def probe_run(workdir: str | Path, weights: str = "auto") -> dict[str, Any]:
    """Probe the newest checkpoint of a training run and return its line, see `records`.

    Args:
      workdir: the run's directory.
      weights: as of `load_run`.

    Raises:
      FileNotFoundError, ValueError, ResumeError: as `load_run`; ValueError also for a data set of too few pictures.
    """
    run = load_run(workdir, weights)
    config, family = run.config, run.family
    instrument = Instrument(family, probe_pictures(_pictures(run, "train"), _pictures(run, "test")))
    init_key, _ = run_keys(config.seed)
    untrained = jax.jit(partial(family.model.init_trainable, hooks=()))(family.read_start(), init_key)["side"]
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
        },
        "alignment": {} if align is None else alignment,
    }
    trainable = {"side": run.side, "decoder": run.decoder}
    return instrument.record(instrument.scores(untrained), trainable, align, described)


def _pictures(run: TrainedRun, name: str) -> Pictures:
    """Pictures of a split as training reads them, but never mirrored and with all captions; shuffled, always alike.

    Where pictures have several sizes, all are of one of them.
    """
    split, family = load_split(run.config, run.family, name), run.family
    count = min(COUNTS[name], len(split.source))
    batch = Batches(split.source, split.make_inputs, count, seed=0).batch_at(0)
    # A batch that is larger than its bucket of sizes has pictures twice.
    _, first = np.unique(batch["index"], return_index=True)
    first.sort()
    inputs, frozen = jax.tree.map(lambda rows: rows[first], batch["inputs"]), split.frozen()
    encode = jax.jit(partial(model_inputs, family=family, empty=split.empty, caption_dropout=0.0))
    encoded = []
    for number, start in enumerate(range(0, len(first), ENCODE_BATCH)):
        rows = jax.tree.map(lambda leaf, start=start: leaf[start : start + ENCODE_BATCH], inputs)
        key = jax.random.fold_in(jax.random.key(0), number)
        encoded.append(jax.tree.map(np.asarray, encode(rows, key, frozen)))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *encoded)
    return Pictures(name, batch["index"][first], **whole)
