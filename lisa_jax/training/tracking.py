"""Where a run leaves its numbers and pictures: metrics.jsonl, TensorBoard files and PNGs in the work directory."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter


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
        self._workdir.mkdir(parents=True, exist_ok=True)
        path = self._workdir / "metrics.jsonl"
        kept = _lines_until(path, start_step)
        self._jsonl = path.open("w")
        self._jsonl.writelines(kept)
        self._jsonl.flush()
        self._tensorboard = SummaryWriter(str(self._workdir / "tensorboard"), purge_step=start_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers after `step` steps."""
        if not self._enabled:
            return
        self._jsonl.write(json.dumps({"step": step, **values}) + "\n")
        self._jsonl.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Record uint8 (H, W, 3) pictures after `step` steps, as `previews/<name>_<step>.png` and in TensorBoard."""
        if not self._enabled:
            return
        for name, image in images.items():
            path = self._workdir / "previews" / f"{name}_{step:07d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path)
            self._tensorboard.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything to disk."""
        if self._enabled:
            self._jsonl.close()
            self._tensorboard.close()


def _lines_until(path: Path, step: int) -> list[str]:
    """Whole lines of an earlier run up to a step; a last line cut short by a kill has no newline and is dropped."""
    if not path.is_file():
        return []
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in lines if json.loads(line)["step"] <= step]
