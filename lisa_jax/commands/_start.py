"""What commands have in common once their flags are read: settings, and how errors are told."""

import asyncio
import contextlib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import jax
from absl import logging as absl_logging
from tqdm import tqdm

import lisa_jax
from lisa_jax.commands._client_log import quieten_client
from lisa_jax.commands._event_loops import PatientLoops
from lisa_jax.data.embedded.records import CorruptRecordError
from lisa_jax.files.home import cache_folder
from lisa_jax.parallel.cluster import PROCESSES_VARIABLE, LostProcessError, join_processes, leave
from lisa_jax.parallel.messages import one_line
from lisa_jax.parallel.platforms import leave_out_absent_tpus


@contextlib.contextmanager
def telling_errors() -> Iterator[None]:
    """End with one sentence and exit status 1 at errors that users can mend.

    Where this package itself refuses something, its message is all there is to know, and the same goes for files that
    are missing or disks that are full. Errors from elsewhere keep their traceback.
    """
    try:
        yield
    except OSError as error:
        _end(error, one_line(error))
    except LostProcessError as error:
        _end(error, str(error))
    except (ValueError, FloatingPointError, CorruptRecordError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        _end(error, str(error) if Path(raised_in).is_relative_to(Path(lisa_jax.__file__).parent) else None)
    except ImportError as error:
        # Ours name no module, but the extra that brings it.
        _end(error, str(error) if error.name is None else None)
    except Exception as error:
        _end(error, None)


def _end(error: Exception, sentence: str | None) -> NoReturn:
    """Tell an error, as a sentence or with its traceback, and end with exit status 1."""
    if sentence is None and not jax.distributed.is_initialized():
        raise error
    if sentence is None:
        traceback.print_exception(error)
    else:
        print(f"error: {sentence}", file=sys.stderr)
    leave(error)


class BesideBars(logging.StreamHandler):
    """Writes lines to stderr above the progress bars that are there, not into them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=self.stream)


def start_up() -> None:
    """Settings that every command wants: its processes joined, readable logs, compiled programs kept between runs."""
    leave_out_absent_tpus()
    join_processes(os.environ.get(PROCESSES_VARIABLE, ""))
    # Orbax, TFDS and JAX tell their whole story through absl and the root logger; errors they raise as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    quieten_client()
    asyncio.set_event_loop_policy(PatientLoops())
    handler = BesideBars()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("lisa_jax")
    ours.addHandler(handler)
    # What the first process says holds for all.
    ours.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    ours.propagate = False
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        _keep_compiled_programs()


def _keep_compiled_programs() -> None:
    """Between runs; where there is no place for them, commands work as well, and only start later."""
    try:
        folder = cache_folder() / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as error:
        told = "Compiled programs are not kept between runs (%s): JAX_COMPILATION_CACHE_DIR names a folder for them."
        logging.getLogger("lisa_jax").warning(told, one_line(error))
    else:
        jax.config.update("jax_compilation_cache_dir", str(folder))
