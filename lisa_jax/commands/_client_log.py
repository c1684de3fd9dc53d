"""What of the hub's client's log a user sees: all but what ends in a sentence of ours, and that once."""

import logging
import re

_CLIENT = "huggingface_hub"
# Where it tells each try, and that a pattern is of no file; the second is what a base of several precisions wants.
_LOUD = ("utils._http", "file_download", "_snapshot_download")
# Not the waiting that a limit of requests asks for, which may take minutes, nor what the hub says of a token.
_TRIES = re.compile(r" thrown while requesting |Retrying in |Error while downloading from |No files matched ")


def quieten_client() -> None:
    """Drop the lines of single tries of huggingface_hub, for they end in success or an error, and say others once.

    Before it is imported, which takes half a second; importing it sets level and handler, and leaves the rest.
    """
    # It has a handler of its own, and absl has one at the root.
    logging.getLogger(_CLIENT).propagate = False
    for module in _LOUD:
        logging.getLogger(f"{_CLIENT}.{module}").addFilter(_is_no_try)


def _is_no_try(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING or _TRIES.search(record.getMessage()) is None
