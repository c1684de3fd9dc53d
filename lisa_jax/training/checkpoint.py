"""Checkpoints of a run: the TrainState and what it must not be mixed with, never the frozen weights.

A checkpoint is written asynchronously and appears under its final name only when it is whole, with checksums of its
files. Resuming takes the newest one that can be read and is as it was written; a damaged one is set aside under another
name, and said so. The best one by a score, which lies in the checkpoint itself, may stay beside the newest.
"""

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from lisa_jax.files.changes import changes
from lisa_jax.files.regular_file import check_regular
from lisa_jax.parallel.cluster import LostProcessError, as_first_finds, lost_process
from lisa_jax.parallel.messages import storage_code, storage_reason, with_kind
from lisa_jax.training import checksums
from lisa_jax.training.best import NewestAndBest, best_step
from lisa_jax.training.checkpoint_items import (
    RestoreState,
    RestoreValues,
    SaveState,
    SaveValues,
    StateHandler,
    ValuesHandler,
)
from lisa_jax.training.state import TrainState
from lisa_jax.training.upgrade import NO_UPGRADE, Upgrade, in_saved_shapes
from lisa_jax.training.work_directory import check_name

_LOG = logging.getLogger(__name__)

# What a checkpoint consists of, a folder each; scores only where the best checkpoint is kept.
_STATE, _IDENTITY, _SCORES = "state", "identity", "scores"
_NOTE = "_CHECKPOINT_METADATA"


class ResumeError(ValueError):
    """The work directory holds a run that this one is not a continuation of, or no checkpoint that can be read."""


class SaveError(OSError):
    """A checkpoint could not be written."""


class _Damaged(Exception):
    """A checkpoint is not as it was written."""


class Checkpoints:
    """The checkpoints of one work directory; as a context manager it closes them.

    Args:
      workdir: the run's directory; checkpoints go to `workdir/checkpoints`.
      keep: how many of the newest ones stay.
      identity: names and values that a resumed run must share.
      upgrade: how checkpoints of earlier versions are read.
      keep_best: name of the score whose best checkpoint stays too, see `best.SCORES`; None: only the newest ones do.
      read_only: leave the folder as it is; the run may be going on in another process.

    Raises:
      ValueError: a name that storage cannot write, or read, checkpoints under.
    """

    def __init__(
        self,
        workdir: str | Path,
        keep: int,
        identity: Mapping[str, Any],
        upgrade: Upgrade = NO_UPGRADE,
        *,
        keep_best: str | None = None,
        read_only: bool = False,
    ):
        check_name(workdir, to_write=not read_only)
        self._folder = Path(workdir).absolute() / "checkpoints"
        # As JSON reads it back: a tuple becomes a list.
        self._identity = json.loads(json.dumps(dict(identity)))
        self._upgrade = upgrade
        self._read_only = read_only
        self._keep_best = keep_best
        self._preservation = NewestAndBest(keep, self._best_of)
        self._saving = 0
        self._refuse_pipes()
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_handlers={_STATE: StateHandler(), _IDENTITY: ValuesHandler(), _SCORES: ValuesHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._preservation,
                enable_async_checkpointing=not read_only,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        # A checkpoint is whole only when all processes have written theirs: one that is gone would be waited for.
        elif not issubclass(kind, LostProcessError):
            # What ended the run is told, not what followed from it.
            with contextlib.suppress(SaveError):
                self.close()

    def _refuse_pipes(self) -> None:
        """Raise ValueError where Orbax would wait for ever: it opens the note of each checkpoint, whatever that is."""
        for note in self._folder.glob(f"*/{_NOTE}"):
            # Another process may be removing that checkpoint.
            with contextlib.suppress(FileNotFoundError):
                check_regular(note)

    def save(self, state: TrainState, step: int, scores: Mapping[str, float] | None = None) -> None:
        """Start writing the state after `step` steps, and its scores by name; training goes on meanwhile.

        Raises:
          SaveError: this checkpoint or the one before could not be written.
          LostProcessError: another process of the run is gone.
        """
        if step in self._manager.all_steps():
            return
        items = {_STATE: SaveState(state), _IDENTITY: SaveValues(self._identity)}
        if scores:
            items[_SCORES] = SaveValues(dict(scores))
            self._scores[step] = scores
        # Forced: Orbax may otherwise skip a checkpoint while the one before is being written.
        with self._telling_failures(step):
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)

    def restore(self, like: TrainState) -> TrainState | None:
        """Read the newest checkpoint that is whole, and set unreadable newer ones aside.

        Args:
          like: shapes, dtypes and shardings of the state (`jax.ShapeDtypeStruct` leaves will do).

        Returns:
          The state, or None where there is no checkpoint yet.
        Raises:
          ResumeError: a checkpoint of another base, seed, batch size or model; or none that can be read.
          LostProcessError: another process of the run is gone, which says nothing about the checkpoint.
        """
        unreadable: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._restored(step, like)
            except _Damaged as damage:
                unreadable[step] = str(damage)
            else:
                self._set_aside(unreadable)
                self._drop_oldest()
                return state
        if unreadable:
            # They stay where they are, so that the same command does not start anew in their place.
            step, reason = next(iter(unreadable.items()))
            raise ResumeError(
                f"None of the checkpoints in {self._folder} can be read (steps {', '.join(map(str, unreadable))}; "
                f"{step} fails with {reason}): give another --workdir to start anew."
            )
        return None

    def restore_best(self, like: TrainState) -> TrainState | None:
        """Read the checkpoint with the best score; arguments as `restore`.

        Returns:
          The state, or None where no checkpoint has a score yet.
        Raises:
          ResumeError: as `restore`, or it cannot be read: no other takes its place.
        """
        step = self._best_of(self._manager.all_steps())
        try:
            return None if step is None else self._restored(step, like)
        except _Damaged as damage:
            raise ResumeError(
                f"The best checkpoint in {self._folder}, of step {step}, cannot be read ({damage}): use the newest one."
            ) from damage

    def close(self) -> None:
        """Wait until all that was saved is on disk, and release the manager's threads; raises as `save`."""
        with self._telling_failures(self._saving):
            self._manager.wait_until_finished()
            self._manager.close()

    @contextlib.contextmanager
    def _telling_failures(self, step: int) -> Iterator[None]:
        """In place of the many kinds of error that Orbax and TensorStore raise, from its threads too."""
        self._saving = step
        try:
            yield
        except Exception as error:
            if lost := lost_process(error, step):
                raise lost from error
            raise SaveError(
                f"Checkpoints cannot be written to {self._folder} ({storage_reason(error)}): once that is mended, the "
                "same command goes on from the newest one that is whole."
            ) from error

    def _restored(self, step: int, like: TrainState) -> TrainState:
        """The state of a checkpoint, as it lies today; raises _Damaged, and ResumeError and others as `restore`."""
        try:
            self._refuse_damage(step)
            layout = self._upgrade.layout(self._checked_identity(step))
            state = self._read(step, like if layout is None else layout.to_saved(like))
        except ResumeError:
            raise
        # Orbax and TensorStore report damage as many kinds of error.
        except Exception as error:
            raise _Damaged(self._damage(step, error)) from error
        self._refuse_renamed(step, state)
        return state if layout is None else layout.to_today(state)

    def _best_of(self, steps: Sequence[int]) -> int | None:
        return None if self._keep_best is None else best_step(steps, self._scores, self._keep_best)

    @cached_property
    def _scores(self) -> dict[int, Mapping[str, float]]:
        """The scores of the checkpoints that have some; the first time, those that lie there."""
        found = {}
        for step in self._manager.all_steps():
            if (self._folder / str(step) / _SCORES).is_dir():
                try:
                    found[step] = self._manager.restore(step, args=ocp.args.Composite(scores=RestoreValues()))[_SCORES]
                except Exception as error:
                    damage = self._damage(step, error)
                    _LOG.warning("The checkpoint of step %d counts as none of the best: %s.", step, damage)
        return found

    def _read(self, step: int, like: Any) -> Any:
        saved = self._manager.item_metadata(step)[_STATE].tree
        like = in_saved_shapes(like, saved, self._upgrade.keeps_shape)
        restore = RestoreState(like, restore_args=ocp.checkpoint_utils.construct_restore_args(like))
        return self._manager.restore(step, args=ocp.args.Composite(state=restore))["state"]

    def _damage(self, step: int, error: Exception) -> str:
        """What an error, met while a checkpoint is read, says of it; raises where it is about something else."""
        if lost := lost_process(error, step):
            raise lost from error
        if storage_code(error) in checksums.NOT_DAMAGE:
            raise ResumeError(
                f"The checkpoint of step {step} in {self._folder} cannot be read now ({storage_reason(error)}): once "
                "that is mended, the same command goes on."
            ) from error
        return str(error) if isinstance(error, _Damaged) else with_kind(error)

    def _refuse_damage(self, step: int) -> None:
        """Compare a checkpoint's files with its checksums; one of earlier versions has none. One process reads them."""

        def find() -> str | None:
            folders = [self._folder / str(step) / item for item in (_STATE, _IDENTITY)]
            if (scores := self._folder / str(step) / _SCORES).exists():
                folders.append(scores)
            have = [(folder / checksums.FILE).exists() for folder in folders]
            if any(have) and not all(have):
                return f"{checksums.FILE} is missing in one of its folders"
            return next(filter(None, map(checksums.find_damage, folders)), None)

        if damage := as_first_finds(find):
            raise _Damaged(damage)

    def _refuse_renamed(self, step: int, state: TrainState) -> None:
        # Trees that count no steps are kept, too.
        held = int(getattr(state, "step", step))
        if held != step:
            raise ResumeError(
                f"{self._folder / str(step)} holds the checkpoint of step {held}: give the folder that "
                "number again, or another --workdir."
            )

    def _checked_identity(self, step: int) -> Mapping[str, Any]:
        """The identity of a checkpoint as it was saved; raises ResumeError for that of another run."""
        restored = self._manager.restore(step, args=ocp.args.Composite(identity=RestoreValues()))["identity"]
        # As JSON reads it back: a tuple becomes a list.
        saved = json.loads(json.dumps(dict(self._upgrade.identity(restored))))
        # Who only reads need not know all that a run is bound to, such as its data.
        if self._read_only:
            saved = {name: value for name, value in saved.items() if name in self._identity}
        if changed := changes(saved, self._identity):
            raise ResumeError(
                f"{self._folder} is of another run: {'; '.join(changed)}: give the same again, or another --workdir."
            )
        return restored

    def _drop_oldest(self) -> None:
        """What a killed run, or one that kept more, has left beyond those that stay."""
        if not self._read_only:
            steps = self._manager.all_steps()
            for step in set(steps) - self._preservation.kept(steps):
                self._manager.delete(step)

    def _set_aside(self, unreadable: Mapping[int, str]) -> None:
        for step, reason in unreadable.items():
            aside = self._folder / f"unreadable-{step}"
            kept = "it is left alone" if self._read_only else f"it is kept as {aside}"
            _LOG.warning(
                "The checkpoint of step %d cannot be read (%s): going back to the one before; %s.", step, reason, kept
            )
            if not self._read_only and jax.process_index() == 0:
                shutil.rmtree(aside, ignore_errors=True)
                (self._folder / str(step)).rename(aside)
        if unreadable and not self._read_only:
            multihost_utils.sync_global_devices("unreadable checkpoints are set aside")
            self._manager.reload()
