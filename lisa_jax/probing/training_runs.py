"""Probes of a training run: its newest checkpoint beside its own step 0."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.data.pipeline import Batches
from lisa_jax.experiments.control import used_hook
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.experiments.splits import condition_names, load_split
from lisa_jax.experiments.trained_run import TrainedRun, load_run, trainable_init
from lisa_jax.probing.instrument import Instrument
from lisa_jax.probing.pictures import COUNTS, Pictures, probe_pictures

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
    # As the loop does: the first key is that of the initialisation.
    key, _ = jax.random.split(jax.random.key(config.seed))
    untrained = jax.jit(trainable_init(config, family))(family.read_side_start(), key)["side"]
    hook = used_hook(config, family.model)
    alignment = {name: value for name, value in config.lisa.to_dict().items() if name not in ("lam", "hook")}
    names = condition_names(config)
    described = {
        "id": Path(workdir).resolve().name,
        "lam": config.lisa.lam,
        "hook": hook,
        "task": "+".join(sorted(names)) if names else config.data.condition.rpartition(":")[2],
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
        "alignment": {} if hook is None else alignment,
    }
    return instrument.record(instrument.scores(untrained), {"side": run.side, "decoder": run.decoder}, hook, described)


def _pictures(run: TrainedRun, name: str) -> Pictures:
    """Pictures of a split as training reads them, but never mirrored and with all captions; shuffled, always alike.

    Where pictures have several sizes, all are of one of them.
    """
    split, family = load_split(run.config, run.family, name), run.family
    count = min(COUNTS[name], len(split.source))
    batch = Batches(split.source, split.condition, count, seed=0, transforms=(split.with_text,)).batch_at(0)
    # A batch that is larger than its bucket of sizes has pictures twice.
    _, first = np.unique(batch["index"], return_index=True)
    first.sort()
    arrays = jax.tree.map(lambda rows: rows[first], split.arrays(batch))
    frozen = split.frozen()
    encode = jax.jit(
        partial(
            model_inputs,
            latents=family.latents,
            text=family.encode_text,
            null_context=jnp.asarray(split.null_context),
            caption_dropout=0.0,
        )
    )
    encoded = []
    for number, start in enumerate(range(0, len(first), ENCODE_BATCH)):
        rows = jax.tree.map(lambda leaf, start=start: leaf[start : start + ENCODE_BATCH], arrays)
        inputs = encode(rows, jax.random.fold_in(jax.random.key(0), number), frozen)
        encoded.append((np.asarray(inputs["latents"]), np.asarray(inputs["context"])))
    latents, context = (np.concatenate(parts) for parts in zip(*encoded, strict=True))
    return Pictures(name, batch["index"][first], latents, context, arrays["condition"])
