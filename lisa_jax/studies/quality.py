"""How good the samples of a study look, step by step: a Fréchet distance and a kernel distance to training pictures.

They stand in `quality/<name>.json` beside the rows, one file for each run and one for each task (its real test pictures
and its samples without control), so that a study can be measured later, and its rows stay as they are.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lisa_jax.evaluation.distances import frechet_distance, kernel_distance
from lisa_jax.evaluation.extractors import Extractor, load_extractor
from lisa_jax.evaluation.quality import require_comparable
from lisa_jax.experiments.kinds import NumberOrNull, Table, require
from lisa_jax.studies.json_file import change_json, read_json

FOLDER = "quality"
# Of the training split; the more, the less the Fréchet distance is biased.
MAX_REFERENCES = 1000

# Name of a set of samples, a step or a kind of picture -> measure -> value.
Sets = Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class QualityMeter:
    """Measures samples against the same pictures, always, and keeps what it finds in a study's folder.

    Attributes:
      folder: of the study.
      extractor: the network.
      references: its features of real pictures, (m, d).
    """

    folder: Path
    extractor: Extractor
    references: np.ndarray

    def measure(self, name: str, label: str | int, samples: np.ndarray) -> None:
        """Add samples, uint8 (n, H, W, 3), n >= 2, to the file of a name under a label; the same label is replaced."""
        features = self.extractor.features(samples)
        found = {
            self.extractor.distance: frechet_distance(features, self.references),
            f"kid_{self.extractor.name}": kernel_distance(features, self.references),
        }
        content = {
            "extractor": self.extractor.identity,
            "examples": len(samples),
            "references": len(self.references),
            "image_size": list(samples.shape[1:-1]),
        }

        def with_these(before: dict[str, Any]) -> dict[str, Any]:
            if before:
                require_comparable(before, content)
            return content | {"sets": before.get("sets", {}) | {str(label): found}}

        change_json(_path(self.folder, name), with_these)

    def has(self, name: str, label: str | int) -> bool:
        """Whether samples were measured under this label."""
        path = _path(self.folder, name)
        return path.is_file() and str(label) in _read(path)["sets"]


def quality_meter(
    config: ConfigDict, train_pictures: Callable[[int], np.ndarray], folder: str | Path
) -> QualityMeter | None:
    """The meter that a study's config asks for: `extractor.name`, "" for none, and `extractor.weights`, "" for those
    that come as a package.

    Args:
      config: of the study.
      train_pictures: number -> the first so many of the training split, uint8 (n, H, W, 3).
      folder: of the study.

    Raises:
      ValueError: the folder has distances in the features of another network; and what `load_extractor` raises.
    """
    wanted = config.extractor
    if not wanted.name:
        return None
    extractor = load_extractor(wanted.name, wanted.weights or None)
    for path in _files(folder):
        measured = _read(path)["extractor"]
        if measured != extractor.identity:
            name = measured.get("name")
            raise ValueError(
                f"{path} has distances of {name}, but extractor.name is {wanted.name}: use another --out, "
                f"or remove {path.parent} to measure again what can be (saved networks, and runs that are to come)."
            )
    return QualityMeter(Path(folder), extractor, extractor.features(train_pictures(MAX_REFERENCES)))


def read_quality(folder: str | Path) -> dict[str, Sets]:
    """All that was measured in a study's folder: id of a run or name of a task -> its sets; nothing where nothing was.

    Raises:
      ValueError: a file of something else, or files of different networks, numbers or sizes of pictures.
    """
    found, first = {}, None
    for path in _files(folder):
        content = _read(path)
        first = first or content
        try:
            require_comparable(first, content)
        except ValueError as error:
            raise ValueError(f"{path.parent} has files of several kinds: {error}") from None
        found[path.stem] = content["sets"]
    return found


def _read(path: Path) -> dict[str, Any]:
    """What `QualityMeter.measure` wrote to a file; raises ValueError, by field, where it is something else."""
    content = read_json(path)
    for name, kind in _FIELDS.items():
        if not isinstance(content.get(name), kind):
            raise ValueError(f"{path} is no file of distances: {name} is {content.get(name)!r:.60}; remove it.")
    require(f"{path}: sets", content["sets"], Table(Table(NumberOrNull())))
    return content


_FIELDS = {"extractor": dict, "examples": int, "references": int, "image_size": list, "sets": dict}


def with_quality(rows: Iterable[Mapping[str, Any]], quality: Mapping[str, Sets]) -> list[dict[str, Any]]:
    """Rows whose curves also have `quality/<measure>` at the steps that were measured."""

    def point(row: Mapping[str, Any], plain: Mapping[str, float]) -> dict[str, float]:
        measured = quality.get(row["id"], {}).get(str(plain["step"]), {})
        return {**plain, **{f"quality/{name}": value for name, value in measured.items()}}

    return [{**row, "curve": [point(row, plain) for plain in row["curve"]]} for row in rows]


def _path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.json"


def _files(folder: str | Path) -> list[Path]:
    return sorted((Path(folder) / FOLDER).glob("*.json"))
