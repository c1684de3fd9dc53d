"""The processes of one run: joining them, noticing that one is lost, and leaving without waiting for it."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from lisa_jax.parallel.messages import one_line

# "auto" where JAX recognises the cluster (TPU pod, SLURM, GKE, Open MPI), else "host:port,count,index": the address
# where process 0 listens, how many processes there are and which one this is. Unset: one process.
PROCESSES_VARIABLE = "LISA_JAX_PROCESSES"
# After so many seconds without a sign of life a process counts as lost, and the others end.
HEARTBEAT_VARIABLE = "LISA_JAX_HEARTBEAT_SECONDS"
_HEARTBEAT_SECONDS = 60
# How long a process that fails waits for others that fail alike.
_LEAVE_TOGETHER_SECONDS = 10
# Longest sentence, in bytes of UTF-8, that a process tells the others.
_SENTENCE_BYTES = 2**12
# How Gloo, NCCL, the TPU runtime and JAX's coordination service say that the other side is gone. Their words are all
# there is to go by: JAX raises one class of error for whatever happens within a program, and the status code in front
# of the message is another one in each of these libraries, and no code of theirs alone.
_LOST = re.compile(r"gloo|nccl|connection|socket|heartbeat|barrier|unavailable|deadline", re.IGNORECASE)


class LostProcessError(RuntimeError):
    """Another process of this run has ended or cannot be reached."""


def join_processes(spec: str) -> None:
    """Join the other processes of this run, before anything else uses a device.

    Args:
      spec: value of $LISA_JAX_PROCESSES; empty: this process is alone.

    Raises:
      ValueError: a malformed spec or $LISA_JAX_HEARTBEAT_SECONDS.
    """
    if not spec:
        return
    heartbeat = os.environ.get(HEARTBEAT_VARIABLE, str(_HEARTBEAT_SECONDS))
    if not heartbeat.isdecimal() or int(heartbeat) < 1:
        raise ValueError(f"{HEARTBEAT_VARIABLE} is '{heartbeat}', but must be a whole number of seconds, 1 or more.")
    if spec == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=int(heartbeat))
        return
    try:
        address, count, index = spec.split(",")
        count, index = int(count), int(index)
    except ValueError:
        raise ValueError(f"{PROCESSES_VARIABLE} is '{spec}', but must be 'auto' or 'host:port,count,index'.") from None
    jax.distributed.initialize(address, count, index, heartbeat_timeout_seconds=int(heartbeat))


def lost_process(error: BaseException, step: int) -> LostProcessError | None:
    """What to raise where `error`, met in step `step`, says that another process is gone; None where it does not.

    This is a guess, from the words of the message. It is told either way, and this process ends; what a wrong guess
    costs: an error of its own that is taken for a lost process is told without its traceback, and checkpoints that are
    still being written are given up, so that the run goes on from an earlier one. A lost process that is not recognised
    keeps this one waiting, until the heartbeat ends it, for a checkpoint that the other one cannot write any more; met
    while a checkpoint is read, it has that checkpoint set aside as unreadable.
    """
    if jax.process_count() == 1 or not isinstance(error, jax.errors.JaxRuntimeError) or not _LOST.search(str(error)):
        return None
    return LostProcessError(
        f"Process {jax.process_index()} of {jax.process_count()} lost another one in step {step} "
        f"({one_line(error, 200)}). What ended first has the reason in its own log. The same command on all of them "
        "goes on from the newest checkpoint."
    )


@contextlib.contextmanager
def noticing_lost_processes(step: int) -> Iterator[None]:
    """Raise LostProcessError in place of an error of JAX that says so, see `lost_process`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if lost := lost_process(error, step):
            raise lost from error
        raise


def as_first_finds(find: Callable[[], str | None]) -> str | None:
    """What `find` finds in process 0, told to all: a sentence, or None; only there it is called.

    For what one process alone shall look at: so all of them refuse with the same words, and none waits for another.
    """
    found = find() if jax.process_index() == 0 else None
    if not jax.distributed.is_initialized():
        return found
    told = np.zeros(_SENTENCE_BYTES, np.uint8)
    encoded = np.frombuffer((found or "").encode()[:_SENTENCE_BYTES], np.uint8)
    told[: encoded.size] = encoded
    text = bytes(np.asarray(multihost_utils.broadcast_one_to_all(told))).rstrip(b"\0").decode(errors="ignore")
    return text or None


def leave(error: BaseException) -> NoReturn:
    """End this process after an error that has been told: one of several must not wait for the others.

    JAX would hold it back at a barrier at exit, for minutes, while the others wait for it in a step. Where all fail
    alike, as after a mistake in a config, they still leave together.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        if not isinstance(error, LostProcessError):
            goodbye = threading.Thread(target=jax.distributed.shutdown, daemon=True)
            goodbye.start()
            goodbye.join(_LEAVE_TOGETHER_SECONDS)
        os._exit(1)
    sys.exit(1)
