"""Long videos as several rows: the clips that they are cut into, one after the other."""

import bisect
import itertools
import logging
from typing import NamedTuple

from tqdm import tqdm

from lisa_jax.data.clip_frames import place_of, starts_of
from lisa_jax.data.rows import Row, RowError, Rows
from lisa_jax.data.rows.row import check_index
from lisa_jax.media.open_clip import rate_and_length
from lisa_jax.media.open_picture import PictureError
from lisa_jax.preparing.clips import ClipMaker, check_lengths

_LOG = logging.getLogger("lisa_jax")


class _Cut(NamedTuple):
    """A video: the numbers of the frames at which its clips begin, and frames a second."""

    starts: tuple[int, ...]
    rate: float


class ClipRows:
    """Rows of videos, each as many times as clips are cut out of it; see `Rows`.

    Each tells where its clip begins, in its place among the video's frames and in seconds. A video that cannot be used,
    or is shorter than a clip, is one row.
    """

    def __init__(self, rows: Rows, maker: ClipMaker, most: int | None):
        """Look how long every video is, without decoding it.

        Args:
          rows: of videos.
          maker: of their clips.
          most: how many clips of a video are taken at most; None: all that are whole.
        """
        self._rows, self._most = rows, most
        looked = tqdm(range(len(rows)), desc="Looking how long videos are", unit="video", dynamic_ncols=True)
        self._cuts = [_cut(rows, index, maker, most) for index in looked]
        counts = (len(cut.starts) if isinstance(cut, _Cut) else 1 for cut in self._cuts)
        self._ends = list(itertools.accumulate(counts))
        self._read: tuple[int, Row] | None = None
        _LOG.info("%d videos are cut into %d clips.", len(rows), len(self))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __repr__(self) -> str:
        return f"ClipRows({self._rows!r}, most={self._most})"

    def fingerprint(self) -> str:
        """The source's hash; how videos are cut is noted beside it."""
        return self._rows.fingerprint()

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        video = bisect.bisect_right(self._ends, index)
        cut = self._cuts[video]
        if isinstance(cut, str):
            raise RowError(cut)
        clip = index - (self._ends[video] - len(cut.starts))
        start = cut.starts[clip]
        seconds = f"{start / cut.rate:.3f}".rstrip("0").rstrip(".")
        return self._row(video)._replace(start=start, at=f" at {seconds} s", last=clip + 1 == len(cut.starts))

    def _row(self, video: int) -> Row:
        """The row of a video; that of the last one is kept, for its clips are asked for one after the other."""
        if self._read is None or self._read[0] != video:
            self._read = video, self._rows[video]
        return self._read[1]


def _cut(rows: Rows, index: int, maker: ClipMaker, most: int | None) -> _Cut | str:
    """How a video is cut, or why it cannot be used."""
    try:
        row = rows[index]
        where = place_of(row.image, row.where)
        rate, length = rate_and_length(row.image, where)
        for name in maker.given:
            place = f"{row.where}: condition {name!r}"
            check_lengths(length, place, rate_and_length(row.conditions[name], place)[1])
        picks = maker.picks(rate, where)
    except (RowError, PictureError) as error:
        return str(error)
    starts = starts_of(length, picks)[:most]
    # Too short a video is told of as others are.
    return _Cut(tuple(starts) or (0,), picks.fps * picks.step)
