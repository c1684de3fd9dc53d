"""The data of a study in memory: pictures, their conditions for every task, and the contexts of their captions."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = ("train", "test")
# Task -> how `lisa_jax.data.conditions.get_condition` finds its condition.
TASKS = {
    "lineart": "lineart",
    "lowres": "lowres",
    "segmentation": "lisa_jax.data.openmoji.layer_classes:segmentation",
}


@dataclasses.dataclass(frozen=True)
class StudySplit:
    """One split: image uint8 (n, H, W, 3), context float32 (n, length, width), by task condition uint8 (n, H, W, 3)."""

    image: np.ndarray
    context: np.ndarray
    conditions: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class StudyData:
    """Both splits and a fingerprint of their bytes."""

    train: StudySplit
    test: StudySplit

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for part in (split.image, split.context, *(split.conditions[name] for name in sorted(split.conditions))):
                digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]


def render_study_data(image_size: int, encode_text: Any) -> StudyData:
    """OpenMoji with every task's condition, rendered (some seconds a split)."""
    # Here and not above: machines that get their data as a file need no data packages.
    from lisa_jax.data.conditions import get_condition
    from lisa_jax.data.openmoji import load_openmoji

    splits = {}
    for name in SPLITS:
        examples = list(load_openmoji(image_size, name))
        splits[name] = StudySplit(
            np.stack([example["image"] for example in examples]),
            # Half precision in files: what is trained on must be what is stored.
            encode_text([example["caption"] for example in examples]).astype(np.float16).astype(np.float32),
            {task: np.stack([get_condition(path)(e) for e in examples]) for task, path in TASKS.items()},
        )
    return StudyData(**splits)


def write_study_data(path: str | Path, data: StudyData) -> None:
    """Write to one compressed .npz file."""
    arrays = {}
    for name in SPLITS:
        split = getattr(data, name)
        arrays |= {f"{name}/image": split.image, f"{name}/context": split.context.astype(np.float16)}
        arrays |= {f"{name}/condition/{task}": condition for task, condition in split.conditions.items()}
    np.savez_compressed(path, **arrays)


def read_study_data(path: str | Path) -> StudyData:
    """Read what `write_study_data` wrote; never unpickles."""
    with np.load(path, allow_pickle=False) as arrays:
        splits = {}
        for name in SPLITS:
            prefix = f"{name}/condition/"
            conditions = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)}
            splits[name] = StudySplit(arrays[f"{name}/image"], arrays[f"{name}/context"].astype(np.float32), conditions)
    return StudyData(**splits)
