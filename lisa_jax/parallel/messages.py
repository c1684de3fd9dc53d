"""Errors of other libraries, told within a sentence of ours. Imports nothing of ours: every room tells some."""

import os
import re


def one_line(error: object, limit: int | None = None) -> str:
    """What an error says, on one line; of one that tells a long story, the first `limit` characters."""
    return " ".join(str(error).split())[:limit]


def storage_reason(error: Exception) -> str:
    """Why something could not be written, in the operating system's words where TensorStore quotes its code."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return os.strerror(int(code[1])) if code else with_kind(error)


def with_kind(error: Exception) -> str:
    """Kind and message of an error, `KeyError: 'w'`: for libraries whose messages say little without their kind."""
    return f"{type(error).__name__}: {one_line(error, 200)}"
