"""What samples are measured against: real pictures, conditions, captions and truth, wherever they come from."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lisa_jax.data.conditions.of_example import condition_of
from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.embedded.tasks import CLIPS, TASK_CONDITIONS
from lisa_jax.data.geometry import fit
from lisa_jax.data.rows import Rows
from lisa_jax.evaluation.clips import are_clips, frames_by_name, frames_of
from lisa_jax.evaluation.measures.table import true_fields
from lisa_jax.evaluation.tasks import parts_of, task_of
from lisa_jax.media.decode import decode_picture
from lisa_jax.media.frame_files import holds_frames
from lisa_jax.media.image import IMAGE
from lisa_jax.media.video import VIDEO

CONDITION = "condition"


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """What is known of the examples that samples were made for, in the samples' order.

    Attributes:
      references: the real pictures, uint8 (n, H, W, 3), or clips, (n, F, H, W, 3).
      conditions: task -> uint8, likewise; {} where they are not known.
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

    def in_frames(self) -> "EvaluationSet":
        """The frames of examples that are clips, each with its clip's caption; pictures as they are."""
        if not are_clips(self.references):
            return self
        frames = self.references.shape[1]
        return dataclasses.replace(
            self,
            references=frames_of(self.references),
            conditions=frames_by_name(self.conditions),
            captions=[caption for caption in self.captions for _ in range(frames)],
            truth=frames_by_name(self.truth),
        )


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


def embedded_set(data: str, task: str, indices: Sequence[int], size: tuple[int, ...]) -> EvaluationSet:
    """Test examples of an embedded data set by index, at a size (H, W) or of clips (F, H, W), with a task's conditions.

    Raises:
      ValueError: the data set has pictures and not clips, or clips and not pictures; it does not have the task, or no
        example of such an index in its test split.
    """
    paths = TASK_CONDITIONS[data]
    for part in parts_of(task):
        if part not in paths:
            raise ValueError(f"The data set {data} has no task '{part}': there are {', '.join(paths)}.")
    if (len(size) == 3) != (data in CLIPS):
        raise ValueError(
            f"The data set {data} holds {'clips' if data in CLIPS else 'pictures'}, but the samples do not."
        )
    source = load_embedded(data, size if data in CLIPS else size[0], "test")
    if (last := max(indices)) >= len(source):
        raise ValueError(f"There is a picture {last:05d}.png, but the test split of {data} ends at {len(source) - 1}.")
    examples = [source[index] for index in indices]

    def conditions_of(part: str) -> np.ndarray:
        function, numbered = get_condition(paths[part]), zip(indices, examples, strict=True)
        return np.stack([condition_of(function, e, name=part, where=f"{data} test example {i}") for i, e in numbered])

    return EvaluationSet(
        np.stack([example["image"] for example in examples]),
        {part: conditions_of(part) for part in parts_of(task)},
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
    """Samples as `lisa_jax sample` writes them, by number: pictures uint8 (n, H, W, 3), or clips (n, F, H, W, 3).

    They are `00000.png` and so on; clips are `00000.mp4` (compressed, which measures see), `00000.gif`, or folders of
    frames, `00000`, which keep every bit.

    Raises:
      FileNotFoundError: the folder has none.
      ValueError: it has pictures and clips, one is none, or their sizes differ, by file.
    """
    numbered = sorted((path for path in Path(folder).iterdir() if path.stem.isdecimal()), key=lambda p: int(p.stem))
    pictures = [path for path in numbered if path.suffix in IMAGE.formats.values()]
    clips = [path for path in numbered if path.suffix in VIDEO.formats.values() and (path.suffix or holds_frames(path))]
    if pictures and clips:
        raise ValueError(
            f"{folder} holds both pictures and clips, as {pictures[0].name} and {clips[0].name}: keep one."
        )
    if not (pictures or clips):
        raise FileNotFoundError(
            f"{folder} holds no samples: pictures must be named 00000.png, 00001.png and so on, clips 00000.mp4, "
            "00000.gif or 00000, a folder of frames."
        )
    paths, medium = (clips, VIDEO) if clips else (pictures, IMAGE)
    samples = [medium.read(path) for path in paths]
    for path, sample in zip(paths, samples, strict=True):
        if sample.shape != samples[0].shape:
            raise ValueError(
                f"{path} is {_in_words(sample)}, but {paths[0].name} is {_in_words(samples[0])}: samples must be of "
                "one size."
            )
    return [int(path.stem) for path in paths], np.stack(samples)


def _in_words(sample: np.ndarray) -> str:
    """Width x height of a picture; frames x height x width of a clip."""
    space = sample.shape[:-1]
    return "x".join(map(str, space if len(space) == 3 else space[::-1]))
