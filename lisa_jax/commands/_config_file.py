"""The file that --config names: what is wrong with it, in one sentence with its line."""

import traceback
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from lisa_jax.files.regular_file import read_regular
from lisa_jax.parallel.messages import one_line

_LARGEST_BYTES = 2**24


def check_source(path: Path) -> None:
    """Raise ValueError unless a config file is there and is one of Python; it is not run."""
    try:
        compile(read_regular(path, _LARGEST_BYTES), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = error.lineno
        where = f"--config={path} is no Python file" if line is None else f"{path} line {line} is no Python"
        raise ValueError(f"{where}: {one_line(error.msg)}.") from None
    # Bytes that are no text, and what is nested without an end.
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"--config={path} is no Python file: {one_line(error) or 'it is nested too deeply'}."
        ) from None


def check_made(path: Path, config: Any) -> None:
    """Raise ValueError unless what get_config returned is a config that flags can change; OSError as it did."""
    if isinstance(config, ConfigDict) and not isinstance(config, FrozenConfigDict):
        return
    # Where get_config raised an OSError, ml_collections leaves it to the first who asks for an attribute.
    getattr(config, "lock", None)
    raise ValueError(f"get_config of {path} returns {type(config).__name__}, but must return a ConfigDict.")


def what_failed(error: Exception, named: str) -> str | None:
    """What was raised while `--config={named}` was read, with the file's line; None for an error that is not its."""
    path = Path(named.partition(":")[0])
    for cause in (causes := _causes(error)):
        frames = traceback.extract_tb(cause.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).absolute() == path.absolute()]
        if lines:
            kind = "" if type(cause) is ValueError else f"{type(cause).__name__}: "
            return f"{path} line {lines[-1]}: {kind}{one_line(cause, 500)}"
    # Called from outside the file: it has no such function, or one that takes no argument.
    first = causes[-1]
    if isinstance(first, AttributeError) and "'get_config'" in str(first):
        return f"{path} has no function get_config, which returns the config."
    if isinstance(first, TypeError) and "get_config()" in str(first):
        return f"--config={named}: {one_line(first)}."
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """The error, what it was raised for, and so on."""
    found = [error]
    while (error := error.__cause__ or error.__context__) is not None:
        found.append(error)
    return found
