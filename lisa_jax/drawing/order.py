"""An order: what is to be drawn, in which sizes, and the folder that it goes to."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lisa_jax.data.geometry import Size
from lisa_jax.drawing.examined import Examined, examined
from lisa_jax.drawing.inputs import Drawing, drawings_of_requests, drawings_of_split
from lisa_jax.drawing.output import SampleFolder
from lisa_jax.drawing.requests import Request
from lisa_jax.drawing.sizes import Sizes, cropped_to
from lisa_jax.experiments.splits import Split
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import Family

_LOG = logging.getLogger("lisa_jax")


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be drawn, and where to.

    Attributes:
      out: the folder.
      drawings: what each picture is made of.
      total: how many there are.
      counts: how many of a size, where pictures have several.
      caption: of a picture, by its number.
    """

    out: SampleFolder
    drawings: Iterator[Drawing]
    total: int
    counts: Mapping[Size, int]
    caption: Callable[[int], str]


def order_of_requests(
    folder: str | Path,
    family: Family,
    requests: Sequence[Request],
    sizes: Sizes,
    classes: Collection[str],
    settings: Mapping[str, Any],
    negative_prompt: str,
) -> Order:
    """Prompted pictures or videos. Every file is read once before anything is drawn: a bad one is told at the start.

    Args:
      folder: where pictures go.
      family: draws them.
      requests: at least one.
      sizes: choose how large each is; what is cropped for it is said.
      classes: conditions whose colours are classes, see `data.geometry.fit`.
      settings: see `SampleFolder`.
      negative_prompt: for requests that have none of their own.

    Raises:
      RowError, PictureError: a file that is missing or no picture.
      ValueError: see `SampleFolder`; or a first frame that is missing, or that nothing looks at.
    """
    check_words_and_frames(requests, family.conditioner)
    channels = family.conditioning_channels
    found = [examined(request, channels) for request in requests]
    chosen = [sizes.of(one.size) for one in found]
    _say_what_is_cropped(found, chosen)
    told = {**settings, "nearest": sorted(classes)} if classes else settings
    records = [one.record(size) for one, size in zip(found, chosen, strict=True)]
    out = SampleFolder(folder, family.medium, told, records)
    drawings = drawings_of_requests(requests, chosen, family.conditioner, negative_prompt, classes, channels)
    spaces = (
        size if request.clip is None else (request.clip.frames, *size)
        for request, size in zip(requests, chosen, strict=True)
    )
    return Order(out, drawings, len(requests), Counter(spaces), lambda index: requests[index].prompt)


def check_words_and_frames(requests: Sequence[Request], conditioner: Conditioner) -> None:
    """Raise ValueError for a request without a first frame that is read, or with what is not."""
    for request in requests:
        if request.prompt and not conditioner.reads_captions:
            raise ValueError(f"{request.where}: this base reads no captions: leave the prompt {request.prompt!r} out.")
        if conditioner.sees_pictures and request.first_frame is None:
            raise ValueError(
                f"{request.where}: this base goes on from a picture: give --first_frame, in a listing first_frame."
            )
        if request.first_frame is not None and not conditioner.sees_pictures:
            raise ValueError(f"{request.where}: this base looks at no first frame: leave {request.first_frame} out.")


def order_of_split(folder: str | Path, split: Split, count: int, settings: Mapping[str, Any]) -> Order:
    """The first `count` examples of a split; folder and settings, and what is raised, as for requests."""
    total = min(count, len(split.source))
    out = SampleFolder(folder, split.family.medium, settings)
    drawings = drawings_of_split(split, total)
    return Order(out, drawings, total, {}, lambda index: str(split.source[index].get("caption", "")))


def _say_what_is_cropped(found: Sequence[Examined], sizes: Sequence[Size]) -> None:
    cropped = [(one, used) for one, size in zip(found, sizes, strict=True) if (used := cropped_to(one.size, size))]
    if not cropped:
        return
    first, used = cropped[0]
    others = f", and likewise of {len(cropped) - 1} others" if len(cropped) > 1 else ""
    _LOG.warning(
        "%s: of the condition's %dx%d pixels only the middle %dx%d are used%s; --image_size=HEIGHTxWIDTH sets another "
        "size.",
        *(first.request.where, *first.size[::-1], *used[::-1], others),
    )
