"""What a run leaves in its work directory: its config, metrics.jsonl, TensorBoard files and PNGs."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.files.lines import read_objects
from lisa_jax.files.naming import naming
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.media import image

CONFIG_FILE = "config.json"


def write_config(workdir: str | Path, config: ConfigDict) -> None:
    """Leave the config in the work directory, for `sample`, `evaluate` and `export`."""
    if jax.process_index() == 0:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        write_whole_text(Path(workdir) / CONFIG_FILE, config.to_json_best_effort(indent=2) + "\n")


class Tracker:
    """Writes from one process only; the others keep silent.

    Args:
      workdir: the run's directory.
      start_step: steps already done; later lines of an interrupted run are dropped, for they come again.
      enabled: False on all processes but the first.
    """

    def __init__(self, workdir: str | Path, start_step: int, enabled: bool = True):
        self._workdir = Path(workdir)
        self._enabled = enabled
        if not enabled:
            return
        # Imported here: reading a run's config must not need what writes events.
        from tensorboardX import SummaryWriter

        self._workdir.mkdir(parents=True, exist_ok=True)
        path = self._workdir / "metrics.jsonl"
        _drop_lines_after(path, start_step)
        self._jsonl = path.open("a")
        self._tensorboard = SummaryWriter(str(self._workdir / "tensorboard"), purge_step=start_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers after `step` steps."""
        if not self._enabled:
            return
        with naming(self._jsonl.name):
            self._jsonl.write(json.dumps({"step": step, **values}) + "\n")
            self._jsonl.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)
        self._tensorboard.flush()

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Record uint8 (H, W, 3) pictures after `step` steps, as `previews/<name>_<step>.png` and in TensorBoard."""
        if not self._enabled:
            return
        for name, picture in images.items():
            path = self._workdir / "previews" / f"{name}_{step:07d}.png"
            path.parent.mkdir(exist_ok=True)
            image.write(path, picture)
            self._tensorboard.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything to disk."""
        if self._enabled:
            with naming(self._jsonl.name):
                self._jsonl.close()
            self._tensorboard.close()


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
