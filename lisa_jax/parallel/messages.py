"""Errors of other libraries, told within a sentence of ours. Imports nothing of ours: every room tells some."""

import os
import re


def one_line(error: object, limit: int | None = None) -> str:
    """What an error says, on one line; of one that tells a long story, the first `limit` characters."""
    return " ".join(str(error).split())[:limit]


def storage_code(error: Exception) -> int | None:
    """The operating system's number of an error (`errno`), also where TensorStore quotes it; None of other errors."""
    if isinstance(error, OSError):
        return error.errno
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return int(code[1]) if code else None


def storage_reason(error: Exception) -> str:
    """Why something could not be read or written, in the operating system's words where there are any."""
    code = storage_code(error)
    return with_kind(error) if code is None else os.strerror(code)


def with_kind(error: Exception) -> str:
    """Kind and message of an error, `KeyError: 'w'`: for libraries whose messages say little without their kind."""
    return f"{type(error).__name__}: {one_line(error, 200)}"
