"""The folder that samples go to: whole pictures only, all of the same settings, so that a stopped run continues."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lisa_jax.drawing.differences import example_differences
from lisa_jax.files.changes import changes
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.media import image
from lisa_jax.media.medium import Medium

SETTINGS_FILE = "settings.json"
# What tells a data set from another, among the settings; folders of earlier versions do not say it.
DATA_SET = "what the data are"
# What each sample is made of, see `Examined.record`.
Examples = Sequence[Mapping[str, Any]]


class SampleFolder:
    """A folder of `00000.png`, `00001.png`, ..., as the medium's format is, and the settings they were made with."""

    def __init__(self, folder: str | Path, medium: Medium, settings: Mapping[str, Any], examples: Examples = ()):
        """Open or make the folder.

        Args:
          folder: where samples go.
          medium: what they are.
          settings: everything that all samples depend on, as JSON.
          examples: what each sample depends on besides; more than there were continue the folder.

        Raises:
          ValueError: the folder holds samples of other settings or examples, or its settings are damaged.
        """
        self._folder, self._medium = Path(folder), medium
        self._settings, self._examples = settings, examples
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / SETTINGS_FILE
        now = json.loads(json.dumps({**settings, "examples": list(examples)}))
        # Settings of which no picture was made bind nobody.
        if self.finished():
            if not path.is_file():
                raise ValueError(f"{self._folder} holds pictures, but no {SETTINGS_FILE}: give another --out.")
            before = _read(path)
            _check(path, before, now)
            if len(before["examples"]) > len(now["examples"]):
                now["examples"] += before["examples"][len(now["examples"]) :]
        write_whole_text(path, json.dumps(now, indent=2) + "\n")

    def within(self, name: str) -> "SampleFolder":
        """A folder in this one, of other samples of the same settings and examples; opened as this one is."""
        return SampleFolder(self._folder / name, self._medium, self._settings, self._examples)

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self._folder / f"{index:05d}{self._medium.suffix}"

    def finished(self) -> set[int]:
        """The samples that are there."""
        numbers = (int(path.stem) for path in self._folder.glob(f"*{self._medium.suffix}") if path.stem.isdecimal())
        # Not 3.png, nor what is called so and is none of ours.
        is_ours = Path.is_file if self._medium.suffix else Path.is_dir
        return {number for number in numbers if is_ours(self.path(number))}

    def write(self, index: int, sample: np.ndarray, fps: float | None = None) -> None:
        """Write a sample, uint8 (*space, 3), of so many frames a second; it has its name only when it is whole."""
        self._medium.write(self.path(index), sample, fps)

    def read(self, index: int) -> np.ndarray:
        """A sample, uint8 (*space, 3)."""
        return self._medium.read(self.path(index))

    def write_grid(self, picture: np.ndarray) -> None:
        """Write grid.png, a picture of many samples."""
        image.write(self._folder / "grid.png", picture)


def _read(path: Path) -> dict[str, Any]:
    """Settings of before; those of earlier versions said one size for all."""
    try:
        before = read_object(path)
    except JsonError as error:
        raise ValueError(f"{error}: give another --out.") from error
    examples = before.get("examples")
    if not isinstance(examples, list) or not all(isinstance(example, dict | str) for example in examples):
        raise ValueError(f"{path} has no list of examples: give another --out.")
    return before


def _check(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    then, today = ({name: value for name, value in part.items() if name != "examples"} for part in (before, now))
    size = then.pop("image_size", None)
    if DATA_SET not in then:
        today.pop(DATA_SET, None)
    of_examples = (
        example_differences(index, old, new, size)
        for index, (old, new) in enumerate(zip(before["examples"], now["examples"], strict=False))
    )
    # The first example that differs is enough.
    changed = changes(_given(then), _given(today)) + next(filter(None, of_examples), [])
    if changed:
        raise ValueError(f"{path}: {'; '.join(changed)}: give another --out, or the settings of before.")


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that are null: earlier versions did not have all of them."""
    return {
        name: _given(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if value is not None
    }
