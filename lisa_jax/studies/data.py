"""The data of a study in memory: pictures, their conditions for every task, and the contexts of their captions."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lisa_jax.data.embedded.tasks import TASK_CONDITIONS
from lisa_jax.studies.tasks import conditions_of

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """What a study can be done on.

    Attributes:
      conditions: task of one condition -> how `lisa_jax.data.conditions.registry.get_condition` finds it.
      truth: fields of an example that measures of fidelity need beside the pictures.
      flips: whether training mirrors examples: not where a condition's colours tell left from right.
    """

    conditions: Mapping[str, str]
    truth: tuple[str, ...] = ()
    flips: bool = True


DATA_SETS = {
    "openmoji": DataSet(TASK_CONDITIONS["openmoji"]),
    "figures": DataSet(
        TASK_CONDITIONS["figures"],
        truth=("keypoints", "depth"),
        flips=False,
    ),
}


@dataclasses.dataclass(frozen=True)
class StudySplit:
    """One split.

    Attributes:
      image: uint8 (n, H, W, 3).
      context: float32 (n, length, width).
      conditions: task of one condition -> uint8 (n, H, W, 3).
      truth: name -> array (n, ...), what measures of fidelity compare with: keypoints float32 (n, 18, 3), depth float32
        (n, H, W).
    """

    image: np.ndarray
    context: np.ndarray
    conditions: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def condition(self, task: str) -> np.ndarray | dict[str, np.ndarray]:
        """What the side network of a task sees; of a composed task, what each sees, by name.

        Raises:
          ValueError: a condition that this data set does not have.
        """
        names = conditions_of(task)
        for name in names:
            if name not in self.conditions:
                raise ValueError(f"No condition '{name}' of task '{task}': there are {', '.join(self.conditions)}.")
        return {name: self.conditions[name] for name in names} if len(names) > 1 else self.conditions[task]


@dataclasses.dataclass(frozen=True)
class StudyData:
    """Both splits, whether training may mirror examples, and a fingerprint of the bytes."""

    train: StudySplit
    test: StudySplit
    flips: bool = True

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for part in _arrays(split).values():
                digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


def data_set_of(config: ConfigDict) -> tuple[str, DataSet]:
    """Name and properties of the data set of a study's config, its field `data`.

    Raises:
      ValueError: an unknown data set.
    """
    name = config.data
    if name not in DATA_SETS:
        raise ValueError(f"Unknown data '{name}' of a study: there are {', '.join(DATA_SETS)}.")
    return name, DATA_SETS[name]


def render_study_data(config: ConfigDict, encode_text: Any) -> StudyData:
    """A data set with the conditions of all its tasks, rendered (some seconds a split).

    Args:
      config: fields data and image_size.
      encode_text: captions -> contexts (n, length, width).

    Raises:
      ValueError: an unknown data set.
    """
    # Here and not above: machines that get their data as a file need no data packages.
    from lisa_jax.data.conditions.registry import get_condition
    from lisa_jax.data.embedded.load import load_embedded

    name, data_set = data_set_of(config)
    splits = {}
    for split in SPLITS:
        examples = list(load_embedded(name, config.image_size, split))
        splits[split] = StudySplit(
            np.stack([example["image"] for example in examples]),
            # Half precision in files: what is trained on must be what is stored.
            encode_text([example["caption"] for example in examples]).astype(np.float16).astype(np.float32),
            {task: np.stack([get_condition(path)(e) for e in examples]) for task, path in data_set.conditions.items()},
            {field: np.stack([example[field] for example in examples]) for field in data_set.truth},
        )
    return StudyData(**splits, flips=data_set.flips)


def write_study_data(path: str | Path, data: StudyData) -> None:
    """Write to one compressed .npz file."""
    arrays = {"flips": np.asarray(data.flips)}
    for name in SPLITS:
        split = getattr(data, name)
        arrays |= {f"{name}/{part}": array for part, array in _arrays(split).items()}
        arrays[f"{name}/context"] = split.context.astype(np.float16)
    np.savez_compressed(path, **arrays)


def read_study_data(path: str | Path) -> StudyData:
    """Read what `write_study_data` wrote; never unpickles."""
    with np.load(path, allow_pickle=False) as arrays:

        def below(prefix: str) -> dict[str, np.ndarray]:
            return {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}

        splits = {
            name: StudySplit(
                arrays[f"{name}/image"],
                arrays[f"{name}/context"].astype(np.float32),
                below(f"{name}/condition/"),
                below(f"{name}/truth/"),
            )
            for name in SPLITS
        }
        return StudyData(**splits, flips=bool(arrays["flips"]))


def _arrays(split: StudySplit) -> dict[str, np.ndarray]:
    """All arrays of a split under the names that they have in a file."""
    conditions = {f"condition/{name}": split.conditions[name] for name in sorted(split.conditions)}
    truth = {f"truth/{name}": split.truth[name] for name in sorted(split.truth)}
    return {"image": split.image, "context": split.context, **conditions, **truth}
