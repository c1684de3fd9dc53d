"""Prepare a data set: rows of (image, condition, caption) become shards that training reads fast.

    python -m lisa_jax prepare --source=SPEC --out=DIR --base=BASE --image_size=512 --condition=canny
    python -m lisa_jax prepare --source=SPEC --out=DIR --base=BASE --condition_column=pose=pose_image --buckets

SPEC is `parquet:FILES`, `folder:DIR_OR_LISTING`, `webdataset:FILES`, `tfds:DIR`, `arrow:DIR` (of save_to_disk) or
`captions:DIR` (pictures with .txt beside them); the prefix may be left out where the files tell the kind. Images and
conditions are resized and cropped together; what the base's encoders make of them and of the captions is computed once
and stored in bfloat16, unless --cache says otherwise. The same command continues after a kill. DIR appears when
everything is done; `tfds.builder_from_directory(DIR)` opens it.
"""

import os
from typing import Any

import jax
from absl import flags

from lisa_jax.commands._flags import COUNT, DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.data.buckets import Size, make_buckets
from lisa_jax.data.conditions.names import checked_name, name_of
from lisa_jax.data.conditions.registry import Condition, get_condition
from lisa_jax.data.rows import Columns, FirstRows, open_rows
from lisa_jax.drawing.sizes import SizeText, size_of
from lisa_jax.experiments.kinds import Number, Text, Whole
from lisa_jax.preparing.encoding import load_encoding
from lisa_jax.preparing.images import LABELS, ImageMaker
from lisa_jax.preparing.prepare import Task, prepare
from lisa_jax.preparing.settings import NAMED

_SOURCE = DEFINE_checked("source", None, "Where the rows are.", Text())
_ALLOW_OUTSIDE = flags.DEFINE_bool(
    "allow_outside", False, "Read pictures that a listing names outside of its own folder; only of people you trust."
)
_OUT = DEFINE_checked("out", None, "Folder of the prepared data set.", Folder())
_BASE = DEFINE_checked("base", None, "Base that trains later; its encoders are used.", Text())
_IMAGE_SIZE = DEFINE_checked(
    "image_size",
    "512",
    "HEIGHTxWIDTH, or the side of square images; of --buckets, of a square of their area.",
    SizeText(),
)
_BUCKETS = flags.DEFINE_bool("buckets", False, "Keep about each image's aspect ratio: a fixed list of sizes.")
_MIN_SIZE = DEFINE_checked(
    "min_size",
    None,
    "Least shorter side of an image that may be enlarged; by default images that are too small are bad.",
    Whole(0, 2**14),
)
_CONDITIONS = flags.DEFINE_multi_string(
    "condition", [], "Condition to compute: a name, module:function, or name=module:function. May be repeated."
)
_CONDITION_COLUMNS = flags.DEFINE_multi_string(
    "condition_column", [], "Column of a condition that the rows bring: a column, or name=column. May be repeated."
)
_NEAREST = flags.DEFINE_list(
    "nearest", [], "Conditions of columns whose colours are classes, as segmentation: resized without mixing colours."
)
_STRETCH = flags.DEFINE_list(
    "stretch", [], "Conditions of columns that are stretched to their images' shapes, where an annotator rounded sides."
)
_IMAGE_COLUMN = DEFINE_checked("image_column", "image", "Column of the image.", Text())
_CAPTION_COLUMN = DEFINE_checked("caption_column", "caption", "Column of the caption.", Text())
_LABELS_COLUMN = DEFINE_checked("labels_column", None, "Column of a class map, for --condition=segmentation.", Text())
_EMPTY_CAPTIONS = flags.DEFINE_enum(
    "empty_captions", "refuse", ["refuse", "keep"], "Whether a row without a caption is bad, or has the empty one."
)
_MAX_ROWS = DEFINE_checked("max_rows", None, "Take so many rows, the first ones; by default all.", COUNT)
_CACHE = flags.DEFINE_list("cache", ["moments", "context"], "What to encode now: moments, context; or none.")
_BATCH_SIZE = DEFINE_checked("batch_size", 8, "Images that are encoded at once.", Whole(1, 4096))
_WORKERS = DEFINE_checked("workers", None, "Threads that decode and resize; one a CPU by default.", Whole(1, 1024))
_ON_ERROR = flags.DEFINE_enum("on_error", "fail", ["fail", "skip"], "What to do about a row that cannot be used.")
_TEST_FRACTION = DEFINE_checked(
    "test_fraction", 0.02, "Share of the images for the test split.", Number(least=0.0, most=1.0)
)
_CHUNK_ROWS = DEFINE_checked("chunk_rows", 1000, "Rows a shard; what a kill can cost.", COUNT)


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("prepare runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    computed = _computed_conditions()
    columns = _columns(computed)
    cache = () if _CACHE.value == ["none"] else tuple(sorted(set(_CACHE.value)))
    for flag in (_NEAREST, _STRETCH):
        for name in flag.value:
            if name not in columns.conditions:
                raise ValueError(f"--{flag.name}={name}: there is no --condition_column of that name.")
    sizes = _sizes()
    rows = open_rows(_SOURCE.value, columns, _ALLOW_OUTSIDE.value)
    if _MAX_ROWS.value is not None:
        rows = FirstRows(rows, _MAX_ROWS.value)
    encoding = load_encoding(_BASE.value, cache, _BATCH_SIZE.value)
    settings = {
        "source": rows.fingerprint(),
        "base": encoding.fingerprint,
        "cache": cache,
        "sizes": sizes,
        "min_size": _MIN_SIZE.value,
        "conditions": {**dict.fromkeys(columns.conditions, "given"), **_computed_specs()},
        "nearest": sorted(_NEAREST.value),
        # Noted where there are any, so that a set without them is what it was before there was such a flag.
        **({"stretch": sorted(_STRETCH.value)} if _STRETCH.value else {}),
        "test_fraction": _TEST_FRACTION.value,
        "chunk_rows": _CHUNK_ROWS.value,
        NAMED: {"source": _naming_flags(columns), "base": {"--base": _BASE.value}},
    }
    make_image = ImageMaker(
        sizes,
        tuple(columns.conditions),
        computed,
        _TEST_FRACTION.value,
        _NEAREST.value,
        _MIN_SIZE.value,
        _STRETCH.value,
    )
    task = Task(make_image, encoding, _CHUNK_ROWS.value, _ON_ERROR.value == "skip", settings)
    prepare(rows, task, _OUT.value, workers=_WORKERS.value or len(os.sched_getaffinity(0)))


def _sizes() -> tuple[Size, ...]:
    """(height, width) of the images to be made: one, or the buckets'."""
    height, width = size_of(_IMAGE_SIZE.value)
    if not _BUCKETS.value:
        return ((height, width),)
    if height != width:
        raise ValueError(f"--image_size={_IMAGE_SIZE.value} is one size, but --buckets are several: give one number.")
    return make_buckets(height)


def _naming_flags(columns: Columns) -> dict[str, Any]:
    """The flags that say which rows there are."""
    # Noted where they are given, so that a set without them is to the bit what it was before there were such flags.
    given = {f"--{flag.name}": flag.value for flag in (_EMPTY_CAPTIONS, _MAX_ROWS) if flag.value != flag.default}
    return {
        "--source": _SOURCE.value,
        "--image_column": columns.image,
        "--caption_column": columns.caption,
        "--condition_column": dict(columns.conditions),
        "--labels_column": _LABELS_COLUMN.value,
        **given,
    }


def _computed_specs() -> dict[str, str]:
    """Name of each condition to compute -> the condition as `get_condition` takes it."""
    specs = {}
    for value in _CONDITIONS.value:
        name, separator, spec = value.partition("=")
        if not separator:
            name, spec = name_of(value), value
        _add(specs, name, spec)
    return specs


def _computed_conditions() -> dict[str, Condition]:
    specs = _computed_specs()
    return {name: get_condition(spec, specs.values()) for name, spec in specs.items()}


def _columns(computed: dict[str, Condition]) -> Columns:
    given: dict[str, str] = {}
    for value in _CONDITION_COLUMNS.value:
        name, separator, column = value.partition("=")
        _add(given, name, column if separator else value)
    if not given and not computed:
        given = {"condition": "condition"}
    both = given.keys() & computed.keys()
    if both:
        raise ValueError(f"Condition {min(both)!r} is both computed and in a column: name one of them otherwise.")
    extras = {LABELS: _LABELS_COLUMN.value} if _LABELS_COLUMN.value else {}
    keep_empty = _EMPTY_CAPTIONS.value == "keep"
    return Columns(_IMAGE_COLUMN.value, given, _CAPTION_COLUMN.value, extras, keep_empty)


def _add(named: dict[str, str], name: str, value: str) -> None:
    if checked_name(name) in named:
        raise ValueError(f"Condition {name!r} is given twice: name one of them otherwise, as in other={value}.")
    named[name] = value


if __name__ == "__main__":
    flags.mark_flags_as_required(["source", "out"])
    run_command(main, kept="leaving; what is finished is kept, and the same command goes on from there.")
