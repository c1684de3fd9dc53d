"""Running a command: its flags first, then, with all that takes seconds to import, its work."""

import gc
import sys
from collections.abc import Callable, Sequence

from absl import app

from lisa_jax.commands._parsing import parse_flags
from lisa_jax.parallel import stop_signals

# Of containers, until Python looks among the new ones for cycles. Importing and tracing make millions that stay; at the
# default of 700, looking takes a fifth of the time of the former and a tenth of the latter's.
_NEW_CONTAINERS = 50_000
_NOTHING_HALF = "leaving; nothing half-written is left, and the same command begins again."


def run_command(main: Callable[..., None], takes_arguments: bool = False, kept: str = _NOTHING_HALF) -> None:
    """Run a command: flags, settings, `main`; errors that users can mend end it with one sentence and exit status 1.

    What stands on the command line beside flags is refused, or with `takes_arguments` given to `main` as a list.

    SIGTERM and Ctrl-C end it with status 75 and a sentence; `kept` is its end: what is kept, and how to go on.
    """

    def run(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not takes_arguments:
            sys.exit(f"error: unexpected argument '{argv[1]}': flags are written --name=value.")
        stop_signals.end_with(kept)
        gc.set_threshold(_NEW_CONTAINERS)
        # Here, for it imports jax, which takes seconds; --help and a wrong flag have been answered by now.
        from lisa_jax.commands._start import start_up, telling_errors

        with telling_errors():
            start_up()
            main(*([argv[1:]] if takes_arguments else []))

    stop_signals.catch()
    app.run(run, flags_parser=parse_flags)
