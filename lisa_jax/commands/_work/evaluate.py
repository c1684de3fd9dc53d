"""What `lisa_jax evaluate` does, once its flags are read."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import jax
from absl import flags
from tqdm import tqdm

from lisa_jax.data.embedded.load import EMBEDDED
from lisa_jax.data.rows import Columns, Rows, open_rows
from lisa_jax.data.rows.hub_table import HubRows
from lisa_jax.data.rows.open import refuse_choice
from lisa_jax.evaluation.clips import are_clips
from lisa_jax.evaluation.evaluation_set import (
    CONDITION,
    EvaluationSet,
    by_task,
    embedded_set,
    read_samples,
    set_of_rows,
)
from lisa_jax.evaluation.extractors import Extractor, load_extractor
from lisa_jax.evaluation.local_networks import local_file
from lisa_jax.evaluation.metric_networks import MetricNetworks, load_metric_networks
from lisa_jax.evaluation.protocol import Samples, evaluate
from lisa_jax.evaluation.tasks import task_of
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.experiments.splits import Split, load_split
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.media.channels import in_colours
from lisa_jax.sampling.generate import make_generator

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")

SPLIT = "test"
# Network of --quality -> its role in a manifest of the user's own.
_ROLES = {"inception_v3": "inception", "inception_v3_clean": "inception", "i3d": "i3d"}
# Flags that say what pictures that are there were made for.
_OF_IMAGES = ("source", "subset", "split", "condition_column")


def _networks(task: str) -> MetricNetworks | None:
    return None if FLAGS.metric_weights is None else load_metric_networks(FLAGS.metric_weights, task)


def _extractor() -> Extractor | None:
    if FLAGS.quality is None:
        return None
    role = _ROLES.get(FLAGS.quality)
    own = None if role is None or FLAGS.metric_weights is None else local_file(FLAGS.metric_weights, role).path
    return load_extractor(FLAGS.quality, own)


def _protocol() -> dict[str, bool]:
    return {"truth_is_condition": FLAGS.truth == "condition", "at_real_size": FLAGS.real_size}


def evaluate_run(workdir: str) -> dict[str, Any]:
    """Sample a run's test split and measure that."""
    if FLAGS.real_size:
        raise ValueError(
            "--real_size needs the real pictures at their own size, but a run's data have them at the samples': sample "
            "a table's rows with --listing, and give the folder as --images, with the table as --source."
        )
    run = load_run(workdir, FLAGS.weights)
    task = FLAGS.task or task_of(run.config.data.condition)
    networks, extractor = _networks(task), _extractor()
    split = load_split(run.config, run.family, SPLIT, FLAGS.condition_module)
    batch = _examples_of_one_size(split)
    generate = make_generator(run.family, **run.config.sampling)
    base = (run.family.frozen, run.family.latents.params)
    conditions = split.conditions(batch)

    def samples() -> Samples:
        inputs, found = (split.contexts(batch), conditions, batch["index"]), {}
        for name, side in {"control": run.side, "no control": None}.items():
            with tqdm(total=len(batch["index"]), desc=name, unit=run.family.medium.unit, dynamic_ncols=True) as bar:
                found[name] = generate(*base, side, *inputs, seed=FLAGS.seed, progress=bar.update)
        return found

    examples = EvaluationSet(
        split.references(batch),
        by_task({name: in_colours(rows) for name, rows in conditions.items()}, task),
        list(batch["caption"]),
        split.truth(batch),
        run.config.data.name in EMBEDDED,
    )
    return {
        **evaluate(task, samples, examples, networks=networks, extractor=extractor, **_protocol()),
        "step": run.step,
        "examples": len(batch["index"]),
        "split": SPLIT,
        "seed": FLAGS.seed,
        "weights": FLAGS.weights,
        "sampling": run.config.sampling.to_dict(),
        "base": run.family.fingerprint,
        "data": split.fingerprint,
    }


def _examples_of_one_size(split: Split) -> dict[str, Any]:
    """The first examples of a split; where they have several sizes, those of the commonest: sets are of one size."""
    found = split.first(FLAGS.num)
    batch = max(found.ordered_batches(len(found.source)), key=lambda batch: len(batch["index"]))
    if (count := len(batch["index"])) < len(found.source):
        _LOG.warning("The first %d examples have several sizes: the %d of one are measured.", len(found.source), count)
    return batch


def evaluate_images(folder: str, task: str, source: str) -> dict[str, Any]:
    """Measure pictures that are there."""
    networks, extractor = _networks(task), _extractor()
    indices, samples = read_samples(folder)
    if source in EMBEDDED:
        refuse_choice(source, FLAGS.subset, FLAGS.split)
        examples = embedded_set(source, task, indices, samples.shape[1:-1])
    else:
        if are_clips(samples):
            raise ValueError(
                "Clips are measured against embedded data, or the run that they are of: give --workdir in place of "
                "--images."
            )
        rows = _rows(source)
        examples = set_of_rows(rows, task, indices, samples.shape[1:3])
        # By its commit, which has the same rows for ever.
        source = rows.name if isinstance(rows, HubRows) else source
    chosen = {name: FLAGS[name].value for name in ("subset", "split") if FLAGS[name].present}
    return {
        **evaluate(task, {"samples": samples}, examples, networks=networks, extractor=extractor, **_protocol()),
        "examples": len(indices),
        "images": str(folder),
        "source": source,
        **chosen,
    }


def _rows(source: str) -> Rows:
    columns = Columns(conditions={CONDITION: FLAGS.condition_column} if FLAGS.condition_column else {})
    return open_rows(source, columns, FLAGS.allow_outside, subset=FLAGS.subset, split=FLAGS.split)


def main() -> None:
    if (FLAGS.workdir is None) == (FLAGS.images is None):
        raise ValueError("Give either --workdir, a run to sample from, or --images, samples that are there.")
    if FLAGS.images is not None and (FLAGS.task is None or FLAGS.source is None):
        raise ValueError("--images also needs --task, and --source, the examples that the samples were made for.")
    if FLAGS.workdir is not None and (given := [name for name in _OF_IMAGES if FLAGS[name].present]):
        raise ValueError(f"--{given[0]} goes with --images; --workdir measures the test split of the run's own data.")
    folder = Path(FLAGS.out).parent
    folder.mkdir(parents=True, exist_ok=True)
    # Refused now, and not when all is measured.
    with tempfile.TemporaryFile(dir=folder):
        pass
    if FLAGS.workdir is not None:
        result = evaluate_run(FLAGS.workdir)
    else:
        result = evaluate_images(FLAGS.images, FLAGS.task, FLAGS.source)
    result["device"] = jax.devices()[0].device_kind
    write_whole_text(FLAGS.out, json.dumps(result, indent=2) + "\n")
    _show(result)


def _show(result: dict[str, Any]) -> None:
    names = list(next(iter(result["fidelity"].values())))
    _LOG.info("%s: %s of %d examples:", result["task"], " / ".join(names) or "quality", result["examples"])
    for name, values in result["fidelity"].items() if names else ():
        _LOG.info("  %-14s %s", name, " / ".join("-" if value is None else f"{value:.3f}" for value in values.values()))
    for name, values in result.get("motion", {}).items():
        shown = ", ".join(f"{measure} {value:.4f}" for measure, value in values.items())
        _LOG.info("  %-14s %s (motion)", name, shown)
    for name, values in result.get("fidelity_at_real_size", {}).items():
        shown = ", ".join(f"{measure} {'-' if v is None else format(v, '.3f')}" for measure, v in values.items())
        _LOG.info("  %-14s %s (at the real pictures' size)", name, shown)
    for name, values in result.get("quality", {}).items():
        real = values["halves"]["real"]
        shown = (f"{measure} {values[measure]:.4g}" for measure in real)
        _LOG.info("  %-14s %s", name, ", ".join(shown))
        halves = (f"{measure} {values['halves']['samples'][measure]:.4g} ({real[measure]:.4g})" for measure in real)
        _LOG.info("  %-14s half against half, beside real ones in brackets: %s", "", ", ".join(halves))
