"""What samples are measured against: real pictures, conditions, captions and truth, wherever they come from."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.embedded.tasks import TASK_CONDITIONS
from lisa_jax.data.geometry import fit
from lisa_jax.data.rows import Rows
from lisa_jax.evaluation.measures.table import true_fields
from lisa_jax.evaluation.tasks import parts_of, task_of
from lisa_jax.media.decode import decode_picture

CONDITION = "condition"


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """What is known of the examples that samples were made for, in the samples' order.

    Attributes:
      references: the real pictures, uint8 (n, H, W, 3).
      conditions: task -> uint8 (n, H, W, 3); {} where they are not known.
      captions: n strings.
      truth: what the data set knows of the pictures, see `truth_of`.
      embedded: of a data set that comes with the package, whose pictures the measures of `fidelity` were made for.
      real: index of a sample -> its real picture at its own size, uint8 of any (H, W, 3); None where only the resized
        ones are known.
    """

    references: np.ndarray
    conditions: Mapping[str, np.ndarray]
    captions: Sequence[str]
    truth: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    embedded: bool = False
    real: Callable[[int], np.ndarray] | None = None


def truth_of(examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """What a data set knows of its pictures, beside what is seen, for measures of fidelity to compare with.

    `keypoints` float32 (n, 18, 3), `depth` float32 (n, H, W) and so on, where the examples have them.
    """
    names = [name for name in true_fields() if name in examples[0]]
    return {name: np.stack([example[name] for example in examples]) for name in names}


def by_task(conditions: Mapping[str, np.ndarray], task: str) -> dict[str, np.ndarray]:
    """Conditions by the names of their tasks; the only one belongs to the task, whatever it is called."""
    if len(conditions) == len(parts_of(task)) == 1:
        return dict(zip([task], conditions.values(), strict=True))
    return {task_of(name): rows for name, rows in conditions.items()}


def embedded_set(data: str, task: str, indices: Sequence[int], size: int) -> EvaluationSet:
    """Test examples of an embedded data set by index, at a size in pixels, with a task's conditions.

    Raises:
      ValueError: the data set does not have the task, or no example of such an index in its test split.
    """
    paths = TASK_CONDITIONS[data]
    for part in parts_of(task):
        if part not in paths:
            raise ValueError(f"The data set {data} has no task '{part}': there are {', '.join(paths)}.")
    source = load_embedded(data, size, "test")
    if (last := max(indices)) >= len(source):
        raise ValueError(f"There is a picture {last:05d}.png, but the test split of {data} ends at {len(source) - 1}.")
    examples = [source[index] for index in indices]
    conditions = {part: np.stack([get_condition(paths[part])(e) for e in examples]) for part in parts_of(task)}
    return EvaluationSet(
        np.stack([example["image"] for example in examples]),
        conditions,
        [example["caption"] for example in examples],
        truth_of(examples),
        embedded=True,
    )


def set_of_rows(rows: Rows, task: str, indices: Sequence[int], size: tuple[int, int]) -> EvaluationSet:
    """Rows by index, resized and cropped to (height, width) as `lisa_jax prepare` does; their condition is the task's.

    Raises:
      RowError, PictureError: a row that cannot be used.
      ValueError: an index that the source does not have.
    """
    if (last := max(indices)) >= len(rows):
        raise ValueError(f"There is a picture {last:05d}.png, but {rows!r} ends at row {len(rows) - 1}.")
    references, conditions, captions = [], [], []
    for index in indices:
        row = rows[index]
        given = {name: decode_picture(data, row.where) for name, data in row.conditions.items()}
        image, given, _ = fit(decode_picture(row.image, row.where), given, size, where=row.where, min_size=1)
        references.append(image)
        conditions.append(given.get(CONDITION))
        captions.append(row.caption)
    known = {} if conditions[0] is None else {task: np.stack(conditions)}

    def real(index: int) -> np.ndarray:
        row = rows[indices[index]]
        return decode_picture(row.image, row.where)

    return EvaluationSet(np.stack(references), known, captions, real=real)


def read_samples(folder: str | Path) -> tuple[list[int], np.ndarray]:
    """Samples as `lisa_jax sample` writes them, `00000.png` and so on: their numbers, and uint8 (n, H, W, 3).

    Raises:
      FileNotFoundError: the folder has none.
      ValueError: one is no picture, or their sizes differ, by file.
    """
    paths = sorted((path for path in Path(folder).glob("*.png") if path.stem.isdecimal()), key=lambda p: int(p.stem))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no samples: pictures must be named 00000.png, 00001.png and so on.")
    images = [decode_picture(path, str(path)) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"{path} is {image.shape[1]}x{image.shape[0]}, but {paths[0].name} is "
                f"{images[0].shape[1]}x{images[0].shape[0]}: samples must be of one size."
            )
    return [int(path.stem) for path in paths], np.stack(images)
