"""Reading what studies and training runs leave in a folder."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa_jax.experiments.bounds import STEPS
from lisa_jax.experiments.fields import CONTROL
from lisa_jax.experiments.kinds import Group, NumberOrNull, Table, or_unset, require
from lisa_jax.files.json_object import NoObjectError, read_object
from lisa_jax.files.lines import read_objects
from lisa_jax.probing.records import FILE as PROBES_FILE
from lisa_jax.probing.records import read_records
from lisa_jax.reporting.pictures import MOVING, STILL
from lisa_jax.studies.quality import read_quality, with_quality
from lisa_jax.studies.results import read_folder, read_rows, read_title
from lisa_jax.training.tracking import CONFIG_FILE

METRICS_FILE, REFERENCES_FILE, SAMPLES_FOLDER = "metrics.jsonl", "references.json", "samples"
# What is no study's results among the .jsonl files of a folder.
_OTHERS = (METRICS_FILE, PROBES_FILE)
# A preview is previews/<name>_<step>.png, and .gif where it moves, see `Record.images` and `Record.clips`.
_PREVIEW = re.compile(r"(.+)_(\d+)")

Frames = Mapping[int, Path]


@dataclasses.dataclass(frozen=True)
class Folder:
    """Everything in one folder that a report can show; parts that are not there are empty.

    Attributes:
      path: the folder.
      identity: of a study: what its results share.
      title: of a study: what its config calls it, "" for nothing.
      rows: of a study: one for each finished run that has points.
      references: of a study: task -> set of pictures -> measure, as points of curves have it -> value, None where a
        measure has no bound.
      samples: of a study: id of a run -> step -> picture, or clip.
      task_pictures: of a study: task -> "reference" and "condition", or "condition_NAME" for each -> picture, or clip.
      config: of a training run, None without one.
      metrics: of a training run: the lines of metrics.jsonl.
      previews: of a training run: name -> step -> picture, or clip.
      probes: lines of probes.jsonl.
      evaluations: file name -> what `evaluate` wrote.
      notices: sentences about what could not be shown.
    """

    path: Path
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    title: str = ""
    rows: tuple[Mapping[str, Any], ...] = ()
    references: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    samples: Mapping[str, Frames] = dataclasses.field(default_factory=dict)
    task_pictures: Mapping[str, Mapping[str, Path]] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    metrics: tuple[Mapping[str, Any], ...] = ()
    previews: Mapping[str, Frames] = dataclasses.field(default_factory=dict)
    probes: tuple[Mapping[str, Any], ...] = ()
    evaluations: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    notices: tuple[str, ...] = ()


def read(path: str | Path) -> Folder:
    """Read a study's folder, a training run's, or one with probes and evaluations alone.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: it holds nothing that a report could show, or a file of it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder: give the --out of a study or the --workdir of a training run.")
    folder = Folder(
        path,
        probes=tuple(read_records(path / PROBES_FILE)) if (path / PROBES_FILE).is_file() else (),
        evaluations=_evaluations(path),
        **_training(path),
        **_study(path),
    )
    if not (folder.rows or folder.metrics or folder.probes or folder.evaluations):
        raise ValueError(
            f"{path} holds nothing to report: no study's results (results.jsonl), no training run's {METRICS_FILE} "
            "beside its config.json, no probes.jsonl and no JSON file that evaluate wrote."
        )
    return folder


def _training(path: Path) -> dict[str, Any]:
    if not (path / CONFIG_FILE).is_file() or not (path / METRICS_FILE).is_file():
        return {}
    previews: dict[str, dict[int, Path]] = {}
    for stem, picture in _pictures(path / "previews").items():
        if match := _PREVIEW.fullmatch(stem):
            previews.setdefault(match[1], {})[int(match[2])] = picture
    return {"config": _config(path / CONFIG_FILE), "metrics": _metrics(path / METRICS_FILE), "previews": previews}


def _config(path: Path) -> dict[str, Any]:
    """A run's config, of which a page shows some fields: those are checked, for it may be of any version."""
    config = read_object(path)
    for group, name in (("data", "condition"), ("lisa", "lam")):
        fields = config.get(group, {})
        require(f"{path}: {group}", fields, Group())
        require(f"{path}: {group}.{name}", fields.get(name), or_unset(CONTROL[f"{group}.{name}"]))
    return config


def _metrics(path: Path) -> tuple[dict[str, Any], ...]:
    lines = []
    for where, line in read_objects(path):
        require(f"{where}: step", line.get("step"), STEPS)
        lines.append(line)
    return tuple(lines)


def _study(path: Path) -> dict[str, Any]:
    try:
        found = (read_rows(file)[0] for file in sorted(path.glob("*.jsonl")) if file.name not in _OTHERS)
        identity = next((identity for identity in found if identity is not None), None)
        rows = () if identity is None else tuple(read_folder(path).values())
        quality = read_quality(path)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: a .jsonl file there is not a study's results ({error!r}).") from error
    if not rows:
        return {}
    empty = [row["id"] for row in rows if not row.get("curve")]
    rows = tuple(with_quality((row for row in rows if row.get("curve")), quality))
    pictures = path / SAMPLES_FOLDER
    samples = {row["id"]: found for row in rows if (found := _frames(pictures / row["id"]))}
    notices = [f"The run {name} of {path} has no points and is left out." for name in empty]
    if rows and not samples:
        notices.append(
            f"Of {path} there are no pictures, for it has none in {SAMPLES_FOLDER}/, where a study leaves them: a "
            "report of the study's own --out shows them."
        )
    tasks = dict.fromkeys(row["cell"].task for row in rows)
    return {
        "identity": identity,
        "title": read_title(path),
        "rows": rows,
        "references": {task: _references(path, task, quality) for task in tasks},
        "samples": samples,
        "task_pictures": {task: _pictures(pictures / task) for task in tasks},
        "notices": tuple(notices),
    }


def _references(path: Path, task: str, quality: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """What a task's measures are compared with: set of pictures -> measure -> value."""
    file = path / REFERENCES_FILE
    found: dict[str, dict[str, float | None]] = {}
    for kind, sets in (
        ("fidelity", _fidelity(file).get(task, {}) if file.is_file() else {}),
        ("quality", quality.get(task, {})),
    ):
        for pictures, values in sets.items():
            found.setdefault(pictures, {}).update({f"{kind}/{name}": value for name, value in values.items()})
    return found


def _fidelity(path: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """What a study writes of its tasks' references."""
    content = read_object(path)
    require(f"{path}: what it holds", content, Table(Table(Table(NumberOrNull()))))
    return content


def _frames(folder: Path) -> dict[int, Path]:
    return {int(stem): file for stem, file in _pictures(folder).items() if stem.isdecimal()}


def _pictures(folder: Path) -> dict[str, Path]:
    """What a folder shows, by name: the clip where there is a picture of the same name beside it."""
    files = sorted(folder.glob("*"))
    return {file.stem: file for kind in (STILL, MOVING) for file in files if file.suffix in kind}


def _evaluations(path: Path) -> dict[str, Mapping[str, Any]]:
    found = {}
    for file in sorted(path.glob("*.json")):
        if file.name not in (CONFIG_FILE, REFERENCES_FILE):
            try:
                content = read_object(file)
            except NoObjectError:
                continue
            if "fidelity" in content or "quality" in content:
                found[file.name] = content
    return found
