"""Telling that XLA compiles, which takes seconds to minutes in which nothing else is seen of a command."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import jax

_LOG = logging.getLogger(__name__)
# Seconds; after two minutes XLA may write its alarm to stderr, which no option of its own turns off.
_BEFORE_THE_ALARM = 110


class Announced:
    """`jax.jit` that says when it compiles: at the first call with another tree, shapes, dtypes or static arguments.

    Args:
      function: to compile; what it is given by name is static.
      what: it computes, in words: "the training step".
      position: of the argument, a tree of arrays, whose shapes and dtypes may change; those of the others are always
        the same.
      **options: of `jax.jit`.

    Attributes:
      what: as given.
      lower: that of `jax.jit`, for what compiles by itself, and then tells of it itself.
    """

    def __init__(self, function: Callable[..., Any], what: str, position: int, **options: Any):
        self._jitted, self.what, self._position = jax.jit(function, **options), what, position
        self._seen: set[tuple] = set()
        self.lower = self._jitted.lower

    def __call__(self, *arguments: Any, **static: Hashable) -> Any:
        with self._told(arguments, static):
            return self._jitted(*arguments, **static)

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        """What `__call__` runs for such arguments."""
        with self._told(arguments, {}):
            return self._jitted.lower(*arguments).compile()

    @contextlib.contextmanager
    def _told(self, arguments: tuple, static: Mapping[str, Hashable]) -> Iterator[None]:
        arrays = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments[self._position]))
        program = (jax.tree.structure(arguments), arrays, *static.items())
        if program in self._seen:
            yield
            return
        start = time.perf_counter()
        _LOG.info("compiling %s ...", self.what)
        with explaining_the_alarm(self.what):
            yield
        self._seen.add(program)
        _LOG.info("... (%.0f s)", time.perf_counter() - start)


@contextlib.contextmanager
def explaining_the_alarm(what: str) -> Iterator[None]:
    """While this computation is compiled: say shortly before XLA's alarm that it is no error."""
    told = 'still compiling %s; where XLA asks "Very slow compile?", that is no error.'
    timer = threading.Timer(_BEFORE_THE_ALARM, _LOG.info, (told, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
