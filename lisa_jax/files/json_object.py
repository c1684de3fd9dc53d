"""JSON objects out of files that others wrote: each way in which one can be wrong is told in one sentence."""

import json
from pathlib import Path
from typing import Any

from lisa_jax.files.regular_file import IrregularFileError, read_regular

# Configs, indices and tokenizers have a few MB at most; a listing is read line by line.
_LARGEST_BYTES = 2**28


class JsonError(ValueError):
    """What should be a JSON object is none; the message begins with the place."""


class NoObjectError(JsonError):
    """It is JSON, but no object."""


def read_object(path: str | Path) -> dict[str, Any]:
    """Read a file that holds one JSON object, in UTF-8, with or without a byte order mark.

    Raises:
      FileNotFoundError: there is no such file.
      JsonError: it is no regular file, no JSON object in UTF-8, has no end of nesting, or has more than 256 MB.
    """
    try:
        return parse_object(read_regular(path, _LARGEST_BYTES), str(path))
    except IrregularFileError as error:
        raise JsonError(str(error)) from error


def parse_object(text: bytes | str, where: str) -> dict[str, Any]:
    """The JSON object that `text` is; `where` names its place in messages.

    Raises:
      JsonError: it is none, says where and why.
    """
    try:
        found = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise JsonError(f"{where} is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise JsonError(f"{where} is not valid JSON (it is nested too deeply)") from error
    except json.JSONDecodeError as error:
        before, here = error.doc[: error.pos].rstrip(), error.doc[error.pos : error.pos + 1]
        comma = "a comma before the closing bracket: " if before.endswith(",") and here in ("]", "}") else ""
        raise JsonError(f"{where} is not valid JSON ({comma}{error})") from error
    # A number of thousands of digits.
    except ValueError as error:
        raise JsonError(f"{where} is not valid JSON ({error})") from error
    if not isinstance(found, dict):
        raise NoObjectError(f"{where} holds a JSON {_kind(found)}, but must hold an object: {{...}}")
    return found


def _kind(value: Any) -> str:
    kinds = {list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return kinds[type(value)]
