"""How many channels the conditions of a preparation have: what is computed has as many as its first example."""

import dataclasses
from collections.abc import Collection, Mapping

from lisa_jax.data.rows import RowError, Rows
from lisa_jax.media.channels import MOST_CHANNELS
from lisa_jax.media.open_picture import PictureError
from lisa_jax.preparing.images import ImageMaker


def asked_channels(flags: Collection[str], given: Collection[str]) -> dict[str, int]:
    """`name=number` of conditions that rows bring -> number by name.

    Raises:
      ValueError: another condition, or a number that no condition has.
    """
    asked = {}
    for flag in flags:
        name, _, number = flag.partition("=")
        if name not in given:
            raise ValueError(f"--channels={flag}: there is no --condition_column of that name.")
        if number not in map(str, range(1, MOST_CHANNELS + 1)):
            raise ValueError(f"--channels={flag}: write {name}=NUMBER, from 1 to {MOST_CHANNELS}.")
        asked[name] = int(number)
    return asked


def with_channels(maker: ImageMaker, rows: Rows, *, skip_bad_rows: bool) -> ImageMaker:
    """The same, for conditions of as many channels as those of the first row that can be used; 3 where there is none.

    Raises:
      RowError, PictureError: a row before it that cannot be used, unless such are skipped.
    """
    found: Mapping[str, int] = {}
    for index in range(len(rows)) if maker.computed else ():
        try:
            made = maker(rows[index])
        except (RowError, PictureError):
            if skip_bad_rows:
                continue
            raise
        found = {name: condition.shape[-1] for name, condition in made.conditions.items()}
        break
    return dataclasses.replace(maker, channels={**maker.channels, **found})
