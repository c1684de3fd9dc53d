"""Where a run's numbers and pictures go beside its own files: services that users name in `config.trackers`.

Each is imported only where it is named. A new one is a class with these methods and a line in `_OPENERS`.
"""

import importlib.util
import io
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.parallel.messages import one_line

_WANDB_ID = "wandb_id"


class Tracker(Protocol):
    """Takes what a run says; steps never fall, and one step may come several times."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers after `step` steps."""

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Pictures after `step` steps, uint8 (H, W, 3)."""

    def clips(self, step: int, clips: Mapping[str, bytes]) -> None:
        """Animated GIFs, encoded, after `step` steps."""

    def close(self) -> None:
        """Send or write all that is left."""


class TensorBoard:
    """Event files in `workdir/tensorboard`; events after `start_step` of an interrupted run are void."""

    def __init__(self, workdir: Path, start_step: int, config: Mapping[str, Any]):
        del config
        from tensorboardX import SummaryWriter
        from tensorboardX.proto.summary_pb2 import Summary

        self._summary = Summary
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=start_step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, picture in images.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def clips(self, step: int, clips: Mapping[str, bytes]) -> None:
        # As pictures, which TensorBoard shows as they are; its own way needs another package to make GIFs.
        for name, clip in clips.items():
            image = self._summary.Image(encoded_image_string=clip)
            value = self._summary.Value(tag=f"{name}_moving", image=image)
            self._writer.file_writer.add_summary(self._summary(value=[value]), step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of wandb with the config, which a resumed run continues: its id is in `workdir/wandb_id`.

    Project, entity and mode are those of wandb's own variables (WANDB_PROJECT, ..., WANDB_MODE=offline). Numbers are
    plotted over `step`: those of steps that come again after an interruption lie twice at the same place.

    Raises:
      ValueError: wandb cannot start, as without a key.
    """

    def __init__(self, workdir: Path, start_step: int, config: Mapping[str, Any]):
        del start_step
        import wandb

        self._image, self._video = wandb.Image, wandb.Video
        try:
            self._run = wandb.init(
                id=_run_id(workdir / _WANDB_ID),
                resume="allow",
                name=workdir.name,
                dir=str(workdir),
                config=dict(config),
            )
        except wandb.Error as error:
            raise ValueError(
                f"wandb of config.trackers cannot start ({one_line(error)}): mend that, set WANDB_MODE=offline, or "
                "leave it out."
            ) from error
        # wandb's own count only rises, and so would drop what comes again.
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        if images:
            self._run.log({"step": step, **{name: self._image(picture) for name, picture in images.items()}})

    def clips(self, step: int, clips: Mapping[str, bytes]) -> None:
        if clips:
            videos = {f"{name}_moving": self._video(io.BytesIO(clip), format="gif") for name, clip in clips.items()}
            self._run.log({"step": step, **videos})

    def close(self) -> None:
        self._run.finish()


_OPENERS: dict[str, Callable[[Path, int, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
TRACKERS = tuple(_OPENERS)
# Those that are no dependency: module -> what installs it.
_EXTRAS = {"wandb": "pip install 'lisa_jax[wandb]'"}


def check_installed(names: Iterable[str]) -> None:
    """Raise ValueError where one of the trackers is not installed, and say how it would be."""
    for name in names:
        # wandb leaves folders of its name, which Python would take for modules without code.
        if name in _EXTRAS and getattr(importlib.util.find_spec(name), "origin", None) is None:
            raise ValueError(f"config.trackers names {name}, which is not installed: {_EXTRAS[name]}, or leave it out.")


def open_trackers(names: Iterable[str], workdir: Path, start_step: int, config: Mapping[str, Any]) -> list[Tracker]:
    """The trackers of a run that goes on after `start_step` steps with a config; each once."""
    return [_OPENERS[name](workdir, start_step, config) for name in dict.fromkeys(names)]


def _run_id(path: Path) -> str:
    """The id that a work directory has for its run, made if there is none yet."""
    if path.is_file() and (found := path.read_text(encoding="utf-8").strip()):
        return found
    made = secrets.token_hex(4)
    write_whole_text(path, made + "\n")
    return made
