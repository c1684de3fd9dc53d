"""Being asked to stop, by SIGTERM or Ctrl-C, from a command's first moment on.

Imports the standard library only, to be there before what takes seconds to import. Signals are acted on by a thread of
their own: Python runs a handler between two operations of the main thread, of which a compilation takes minutes. Ending
at once is always safe, for files have their names only when they are whole; temporary folders are removed before.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

# Exit status of a command that stopped before its end because it was asked to (EX_TEMPFAIL of sysexits.h): the
# launchers start it again, as they do not after an error or at the end.
STOPPED_EARLY = 75
# Of one that was not allowed to save, as shells count a death by SIGINT.
_INTERRUPTED = 128 + signal.SIGINT

_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


def _ends(sentence: str, status: int = STOPPED_EARLY) -> Callable[[int], NoReturn]:
    def end(number: int) -> NoReturn:
        for act in tuple(_first):
            act()
        _say(f"{_NAMES[number]}: {sentence}")
        os._exit(status)

    return end


# What is done first where a signal ends this process.
_first: list[Callable[[], object]] = []

_NOTHING_YET = _ends("leaving before anything was begun; the same command begins again.")
_react: Callable[[int], None] | None = None


def catch() -> None:
    """From here on, both signals end this process at once, with one sentence and STOPPED_EARLY; in the main thread."""
    global _react
    if _react is not None:
        return
    _react = _NOTHING_YET
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # A child that is forked must not wake up the thread of its parent.
    os.register_at_fork(after_in_child=_let_go)
    for number in caught():
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_watch, args=(reader,), name="stop signals", daemon=True).start()


def caught() -> list[int]:
    """The signals that ask this process to stop: not those that whoever started it has made it ignore."""
    return [number for number in _NAMES if signal.getsignal(number) is not signal.SIG_IGN]


def end_with(sentence: str) -> None:
    """What is said from now on where a signal ends this process: what is kept, and how to go on."""
    global _react
    if _react is not None:
        _react = _ends(sentence)


def before_end(act: Callable[[], object]) -> Callable[[], None]:
    """From now on a signal that ends this process has `act` done first, in another thread. Returns what undoes this."""
    _first.append(act)
    return lambda: _first.remove(act)


def hold_back() -> Callable[[], None]:
    """From now on the main thread saves first; only a second Ctrl-C ends the process. Returns what undoes this."""
    global _react
    before = _react
    if before is None:
        return lambda: None
    asked = []
    at_once = _ends("leaving at once; the same command goes on from the newest checkpoint.", _INTERRUPTED)

    def react(number: int) -> None:
        # A cluster may well ask twice.
        if number == signal.SIGINT and asked:
            at_once(number)
        if number == signal.SIGINT:
            _say("Ctrl-C: finishing the step and saving; once more leaves at once, without saving.")
        asked.append(number)

    def undo() -> None:
        global _react
        _react = before

    _react = react
    return undo


def _watch(reader: int) -> None:
    while numbers := os.read(reader, 64):
        for number in numbers:
            if number in _NAMES and _react is not None:
                _react(number)


def _let_go() -> None:
    signal.set_wakeup_fd(-1)
    for number in caught():
        signal.signal(number, signal.SIG_DFL)


def _say(sentence: str) -> None:
    # Who would have read it may be gone.
    with contextlib.suppress(OSError):
        # A bar of progress may stand in this line.
        print(f"\n{sentence}", file=sys.stderr, flush=True)
