"""What a run leaves in its work directory: its config, metrics.jsonl, PNGs and GIFs; and what it tells its trackers."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.files.lines import read_objects
from lisa_jax.files.naming import naming
from lisa_jax.files.whole_file import write_whole, write_whole_text
from lisa_jax.media import image
from lisa_jax.training.trackers import open_trackers

CONFIG_FILE = "config.json"


def write_config(workdir: str | Path, config: ConfigDict) -> None:
    """Leave the config in the work directory, for `sample`, `evaluate` and `export`."""
    if jax.process_index() == 0:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        write_whole_text(Path(workdir) / CONFIG_FILE, config.to_json_best_effort(indent=2) + "\n")


class Record:
    """Writes from one process only; the others keep silent.

    Args:
      workdir: the run's directory.
      start_step: steps already done; later lines of an interrupted run are dropped, for they come again.
      config: of the run; its field trackers names those that are told the same.
      enabled: False on all processes but the first.

    Raises:
      ValueError: a tracker that cannot start.
    """

    def __init__(self, workdir: str | Path, start_step: int, config: ConfigDict, enabled: bool = True):
        self._workdir = Path(workdir)
        self._enabled = enabled
        if not enabled:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        path = self._workdir / "metrics.jsonl"
        _drop_lines_after(path, start_step)
        self._jsonl = path.open("a")
        # As they are in config.json.
        said = json.loads(config.to_json_best_effort())
        self._trackers = open_trackers(config.trackers, self._workdir, start_step, said)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers after `step` steps."""
        if not self._enabled:
            return
        with naming(self._jsonl.name):
            self._jsonl.write(json.dumps({"step": step, **values}) + "\n")
            self._jsonl.flush()
        for tracker in self._trackers:
            tracker.scalars(step, values)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Record uint8 (H, W, 3) pictures after `step` steps, as `previews/<name>_<step>.png` and in trackers."""
        if not self._enabled:
            return
        for name, picture in images.items():
            path = self._workdir / "previews" / f"{name}_{step:07d}.png"
            path.parent.mkdir(exist_ok=True)
            image.write(path, picture)
        for tracker in self._trackers:
            tracker.images(step, images)

    def clips(self, step: int, clips: Mapping[str, bytes]) -> None:
        """Record animated GIFs, encoded, after `step` steps, as `previews/<name>_<step>.gif` and in trackers."""
        if not self._enabled:
            return
        for name, clip in clips.items():
            path = self._workdir / "previews" / f"{name}_{step:07d}.gif"
            path.parent.mkdir(exist_ok=True)
            write_whole(path, lambda partial, clip=clip: partial.write_bytes(clip))
        for tracker in self._trackers:
            tracker.clips(step, clips)

    def close(self) -> None:
        """Flush everything to disk."""
        if self._enabled:
            with naming(self._jsonl.name):
                self._jsonl.close()
            for tracker in self._trackers:
                tracker.close()


def _drop_lines_after(path: Path, step: int) -> None:
    """Keep the whole lines up to a step; a last line cut short by a kill has no newline and goes too."""
    if not path.is_file():
        return
    kept = []
    for where, line in read_objects(path):
        if not isinstance(line.get("step"), int):
            raise ValueError(f"{where} has no step: remove the line, and the run goes on.")
        if line["step"] <= step:
            kept.append(json.dumps(line) + "\n")
    write_whole_text(path, "".join(kept))
