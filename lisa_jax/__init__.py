"""lisa_jax: controllable generation in JAX, with Likelihood Score Alignment (LISA, arXiv 2606.27192)."""

import os
import sys

_ABOVE = os.path.dirname(os.path.dirname(__file__))
# `python -m lisa_jax` searches the current folder before all that is installed, and would run a json.py or cv2.py that
# happens to lie there. While Python looks for a module that -m names, -m stands in the place of the program.
_STARTED = sys.argv[:1] == ["-m"] and any(
    part.removeprefix("-m").partition(".")[0] == __name__ for part in sys.orig_argv[1:]
)
if _STARTED and not sys.flags.safe_path:
    del sys.path[0]
    # A checkout that is not installed was found there: it stays, behind all else.
    if _ABOVE not in sys.path:
        sys.path.append(_ABOVE)
# Commands lie in a folder of their own, but `python -m lisa_jax.train`, as scripts have called them, goes on working.
__path__.append(os.path.join(os.path.dirname(__file__), "commands"))
if _STARTED:
    from lisa_jax.parallel import stop_signals

    # Here, for `python -m lisa_jax.train` begins with what the command imports.
    stop_signals.catch()
