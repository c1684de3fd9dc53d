"""What `lisa_jax prepare` does, once its flags are read."""

import os
from typing import Any

import jax
from absl import flags

from lisa_jax.data.buckets import Size, make_buckets
from lisa_jax.data.conditions.names import checked_name, name_of
from lisa_jax.data.conditions.registry import Condition, get_condition
from lisa_jax.data.rows import Columns, FirstRows, open_rows
from lisa_jax.data.rows.hub_table import HubRows
from lisa_jax.drawing.sizes import size_of
from lisa_jax.media.channels import not_rgb
from lisa_jax.preparing.channels import asked_channels, with_channels
from lisa_jax.preparing.clip_rows import ClipRows
from lisa_jax.preparing.clips import ClipMaker
from lisa_jax.preparing.encoding import load_encoding
from lisa_jax.preparing.images import LABELS, ImageMaker
from lisa_jax.preparing.prepare import Task, prepare
from lisa_jax.preparing.settings import NAMED

FLAGS = flags.FLAGS


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("prepare runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    computed = _computed_conditions()
    columns = _columns(computed)
    cache = () if FLAGS.cache == ["none"] else tuple(sorted(set(FLAGS.cache)))
    for flag in ("nearest", "stretch"):
        for name in FLAGS[flag].value:
            if name not in columns.conditions:
                raise ValueError(f"--{flag}={name}: there is no --condition_column of that name.")
    sizes = _sizes()
    rows = open_rows(FLAGS.source, columns, FLAGS.allow_outside, subset=FLAGS.subset, split=FLAGS.split)
    # By its commit, so that where its branch has moved the refusal names what to give.
    source = rows.name if isinstance(rows, HubRows) else FLAGS.source
    if FLAGS.max_rows is not None:
        rows = FirstRows(rows, FLAGS.max_rows)
    make_image = _maker(sizes, columns, computed)
    if FLAGS.clips_per_video != "1":
        rows = ClipRows(rows, make_image, None if FLAGS.clips_per_video == "all" else int(FLAGS.clips_per_video))
    skip = FLAGS.on_error == "skip"
    make_image = with_channels(make_image, rows, skip_bad_rows=skip)
    batch_size = FLAGS.batch_size or (jax.local_device_count() if columns.clips else 8)
    chunk_rows = FLAGS.chunk_rows or (100 if columns.clips else 1000)
    encoding = load_encoding(FLAGS.base, cache, batch_size, FLAGS.leave_out, make_image.medium.axes, FLAGS.vae)
    settings = {
        "source": rows.fingerprint(),
        "base": encoding.fingerprint,
        "cache": cache,
        "sizes": sizes,
        "min_size": FLAGS.min_size,
        "conditions": {**dict.fromkeys(columns.conditions, "given"), **_computed_specs()},
        "nearest": sorted(FLAGS.nearest),
        # Noted where there are any, so that a set without them is what it was before there was such a flag.
        **({"stretch": sorted(FLAGS.stretch)} if FLAGS.stretch else {}),
        **({"channels": channels} if (channels := not_rgb(make_image.channels)) else {}),
        **({"clips": _clip_settings()} if columns.clips else {}),
        "test_fraction": FLAGS.test_fraction,
        "chunk_rows": chunk_rows,
        NAMED: {"source": _naming_flags(columns, source), "base": _base_flags()},
    }
    task = Task(make_image, encoding, chunk_rows, skip, settings)
    prepare(rows, task, FLAGS.out, workers=FLAGS.workers or len(os.sched_getaffinity(0)))


def _maker(sizes: tuple[Size, ...], columns: Columns, computed: dict[str, Condition]) -> ImageMaker:
    """What makes images of rows, or clips."""
    fields = {
        "sizes": sizes,
        "given": tuple(columns.conditions),
        "computed": computed,
        "test_fraction": FLAGS.test_fraction,
        "nearest": FLAGS.nearest,
        "min_size": FLAGS.min_size,
        "stretched": FLAGS.stretch,
        "channels": asked_channels(FLAGS.channels, columns.conditions),
    }
    if not columns.clips:
        return ImageMaker(**fields)
    return ClipMaker(**fields, frames=FLAGS.frames, fps=FLAGS.fps, stride=FLAGS.stride)


def _clip_settings() -> dict[str, Any]:
    given = {name: FLAGS[name].value for name in ("frames", "fps", "stride")}
    # Noted where it is given, so that a set of beginnings is what it was before there was such a flag.
    return given | ({"clips_per_video": FLAGS.clips_per_video} if FLAGS.clips_per_video != "1" else {})


def _sizes() -> tuple[Size, ...]:
    """(height, width) of the images to be made: one, or the buckets'."""
    height, width = size_of(FLAGS.image_size)
    if not FLAGS.buckets:
        return ((height, width),)
    if height != width:
        raise ValueError(f"--image_size={FLAGS.image_size} is one size, but --buckets are several: give one number.")
    return make_buckets(height)


def _base_flags() -> dict[str, Any]:
    """The flags that say which base there is, and with what of it."""
    given = {f"--{name}": FLAGS[name].value for name in ("leave_out", "vae") if FLAGS[name].value}
    return {"--base": FLAGS.base, **given}


def _naming_flags(columns: Columns, source: str) -> dict[str, Any]:
    """The flags that say which rows there are."""
    names = ("empty_captions", "caption_lines", "max_rows", "subset", "split")
    chosen = [FLAGS[name] for name in names]
    # Noted where they are given, so that a set without them is to the bit what it was before there were such flags.
    given = {f"--{flag.name}": flag.value for flag in chosen if flag.value != flag.default}
    return {
        "--source": source,
        "--image_column": columns.image,
        "--caption_column": columns.caption,
        "--condition_column": dict(columns.conditions),
        "--labels_column": FLAGS.labels_column,
        **given,
    }


def _computed_specs() -> dict[str, str]:
    """Name of each condition to compute -> the condition as `get_condition` takes it."""
    specs = {}
    for value in FLAGS.condition:
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
    for value in FLAGS.condition_column:
        name, separator, column = value.partition("=")
        _add(given, name, column if separator else value)
    if not given and not computed:
        given = {"condition": "condition"}
    both = given.keys() & computed.keys()
    if both:
        raise ValueError(f"Condition {min(both)!r} is both computed and in a column: name one of them otherwise.")
    extras = {LABELS: FLAGS.labels_column} if FLAGS.labels_column else {}
    keep_empty = FLAGS.empty_captions == "keep"
    clips = FLAGS.frames is not None
    for name in ("fps", "stride", "clips_per_video"):
        if not clips and FLAGS[name].value != FLAGS[name].default:
            raise ValueError(f"--{name}={FLAGS[name].value} is of clips: say how many --frames one has.")
    if clips and extras:
        raise ValueError(f"--labels_column={FLAGS.labels_column}: maps of classes are of images, and not of --frames.")
    return Columns(FLAGS.image_column, given, FLAGS.caption_column, extras, keep_empty, FLAGS.caption_lines, clips)


def _add(named: dict[str, str], name: str, value: str) -> None:
    if checked_name(name) in named:
        raise ValueError(f"Condition {name!r} is given twice: name one of them otherwise, as in other={value}.")
    named[name] = value
