"""The folder that samples go to: whole pictures only, all of the same settings, so that a stopped run continues."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.media import image
from lisa_jax.media.medium import Medium

SETTINGS_FILE = "settings.json"


class SampleFolder:
    """A folder of `00000.png`, `00001.png`, ..., as the medium has it, and the settings that they were made with."""

    def __init__(self, folder: str | Path, medium: Medium, settings: Mapping[str, Any], examples: Sequence[str] = ()):
        """Open or make the folder.

        Args:
          folder: where samples go.
          medium: what they are.
          settings: everything that all samples depend on, as JSON.
          examples: what each sample depends on besides, as a hash; more than there were continue the folder.

        Raises:
          ValueError: the folder holds samples of other settings or examples.
        """
        self._folder, self._medium = Path(folder), medium
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / SETTINGS_FILE
        now = json.loads(json.dumps({**settings, "examples": list(examples)}))
        # Settings of which no picture was made bind nobody.
        if self.finished():
            if not path.is_file():
                raise ValueError(f"{self._folder} holds pictures, but no {SETTINGS_FILE}: give another --out.")
            before = json.loads(path.read_text(encoding="utf-8"))
            self._check(path, before, now)
            now["examples"] = max(before["examples"], now["examples"], key=len)
        write_whole_text(path, json.dumps(now, indent=2) + "\n")

    def _check(self, path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        names = sorted((set(before) | set(now)) - {"examples"})
        changed = [
            f"{name} was {json.dumps(before.get(name))} and is {json.dumps(now.get(name))} now"
            for name in names
            if before.get(name) != now.get(name)
        ]
        for index, (then, today) in enumerate(zip(before["examples"], now["examples"], strict=False)):
            if then != today:
                changed.append(f"example {index} had another prompt or condition")
                break
        if changed:
            raise ValueError(f"{path}: {'; '.join(changed)}: give another --out, or the settings of before.")

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self._folder / f"{index:05d}{self._medium.suffix}"

    def finished(self) -> set[int]:
        """The samples that are there."""
        return {int(path.stem) for path in self._folder.glob(f"*{self._medium.suffix}") if path.stem.isdecimal()}

    def write(self, index: int, sample: np.ndarray) -> None:
        """Write a sample, uint8 (*space, 3); it has its name only when it is whole."""
        self._medium.write(self.path(index), sample)

    def read(self, index: int) -> np.ndarray:
        """A sample, uint8 (*space, 3)."""
        return self._medium.read(self.path(index))

    def write_grid(self, picture: np.ndarray) -> None:
        """Write grid.png, a picture of many samples."""
        image.write(self._folder / "grid.png", picture)
