"""Columns that a source calls by another usual name than ours, found without a flag."""

import dataclasses
import logging
from collections.abc import Collection

from lisa_jax.data.rows.row import Columns, RowError

_LOG = logging.getLogger("lisa_jax")
# Our name, which is the default -> what others call it: diffusers' script and its data sets, ControlNet's own tutorial.
_USUAL = {
    "image": ("target", "video"),
    "caption": ("text", "prompt"),
    "condition": ("conditioning_image", "conditioning", "control_image", "source"),
}


def usual_columns(columns: Columns, there: Collection[str], where: str) -> Columns:
    """The columns, each that has its default name and is missing by the one usual name that is there; says so.

    Of clips, captions that are missing altogether are said to be empty.

    Args:
      columns: as they were asked for; a name that is no default is meant as it is.
      there: names of the columns that the source has.
      where: the file, for messages.

    Raises:
      RowError: several columns have a usual name.
    """
    conditions = {name: _found(column, there, where) for name, column in columns.conditions.items()}
    image, caption = _found(columns.image, there, where), _found(columns.caption, there, where)
    if columns.clips and caption == Columns.caption and caption not in there:
        _LOG.info("%s: there is no column of captions: all rows have the empty one; --caption_column names one.", where)
        caption = None
    return dataclasses.replace(columns, image=image, caption=caption, conditions=conditions)


def _found(column: str, there: Collection[str], where: str) -> str:
    if column in there:
        return column
    names = [name for name in _USUAL.get(column, ()) if name in there]
    if len(names) > 1:
        raise RowError(
            f"{where}: there is no column {column!r}, and several that may be it: name one of {', '.join(names)} by "
            f"--{column}_column."
        )
    if names:
        _LOG.info("%s: the %s is taken from the column %r; --%s_column names another.", where, column, names[0], column)
    return names[0] if names else column
