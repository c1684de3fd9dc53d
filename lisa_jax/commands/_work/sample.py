"""What `lisa_jax sample` does, once its flags are read."""

import contextlib
import dataclasses
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from lisa_jax.commands._work._networks import networks_of_flags
from lisa_jax.drawing.inputs import Drawing, batches
from lisa_jax.drawing.listing import read_listing
from lisa_jax.drawing.networks import Networks, sizes_of, trained_size
from lisa_jax.drawing.order import Order, order_of_requests, order_of_split
from lisa_jax.drawing.output import DATA_SET, SampleFolder
from lisa_jax.drawing.requests import ClipRequest, Request, numbers_by_name, requests_of_flags
from lisa_jax.drawing.sheet import columns_of
from lisa_jax.drawing.sizes import size_of
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.bounds import FACTOR, SHARE
from lisa_jax.experiments.splits import load_split
from lisa_jax.families.family import Family
from lisa_jax.files.lock import Lock
from lisa_jax.media.video import VIDEO
from lisa_jax.parallel.sharding import make_mesh, replicated
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.generator import is_guided

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")

GRID_EXAMPLES = 32
# Folder of the grid's samples without control, in --out.
WITHOUT_CONTROL = "without_control"


def sampling_settings(networks: Networks) -> dict[str, Any]:
    """Keyword arguments of `make_generator`: those of the run, and flags that go before them."""
    names = networks.names
    given = {
        "sampler": FLAGS.sampler,
        "num_steps": FLAGS.num_steps,
        "guidance_scale": FLAGS.guidance_scale,
        "min_guidance_scale": FLAGS.min_guidance_scale,
        "decode_chunk": FLAGS.decode_chunk,
        "negative_prompt": FLAGS.negative_prompt,
        "control_scale": numbers_by_name("control_scale", FLAGS.control_scale, names, FACTOR),
        "control_start": numbers_by_name("control_start", FLAGS.control_start, names, SHARE),
        "control_end": numbers_by_name("control_end", FLAGS.control_end, names, SHARE),
        "guess_mode": FLAGS.guess_mode,
    }
    return networks.sampling | {name: value for name, value in given.items() if value is not None}


def asked_for(networks: Networks) -> list[Request]:
    """Requests of the flags; none where a split is to be sampled."""
    if FLAGS.listing and (FLAGS.prompt or FLAGS.condition):
        raise ValueError("--listing holds prompts and conditions: give no --prompt and --condition beside it.")
    clips = networks.family.medium.axes == VIDEO.axes
    of_clips = FLAGS.fps is not None or FLAGS.motion is not None
    if not clips and (FLAGS.first_frame or of_clips):
        raise ValueError("--first_frame, --fps and --motion are of videos, but this base makes images.")
    if FLAGS.listing:
        requests = read_listing(FLAGS.listing, networks.names, clips=clips)
    else:
        # A video need not have a caption.
        prompts = [""] * len(FLAGS.condition) if clips and not FLAGS.prompt else FLAGS.prompt
        requests = requests_of_flags(prompts, FLAGS.condition, networks.names, FLAGS.first_frame)
    if clips and requests:
        asked = ClipRequest(trained_size(networks)[0], FLAGS.fps, FLAGS.motion)
        requests = [dataclasses.replace(request, clip=asked) for request in requests]
    if not requests and networks.config is None:
        raise ValueError("--base has no data set of its own: give --prompt and --condition, or --listing.")
    if not requests and (FLAGS.image_size or FLAGS.nearest or of_clips):
        raise ValueError(
            "--image_size, --nearest, --fps and --motion are of prompted samples: a split has own sizes, conditions "
            "and contexts."
        )
    return requests


def classes_of(networks: Networks) -> frozenset[str]:
    """Names of the conditions whose colours must not be mixed."""
    for name in FLAGS.nearest:
        if name not in networks.names:
            raise ValueError(f"--nearest={name}: the conditions are {', '.join(networks.names)}.")
    return networks.classes | set(FLAGS.nearest)


def order_of(networks: Networks, settings: Mapping[str, Any]) -> Order:
    """What the flags ask for."""
    requests, family = asked_for(networks), networks.family
    guided = is_guided(settings["guidance_scale"], settings.get("min_guidance_scale"))
    for request in requests:
        if request.negative_prompt and not guided:
            raise ValueError(
                f"{request.where}: negative_prompt does nothing at guidance_scale 1: give another guidance_scale, or "
                "leave it out."
            )
    identity = {**networks.identity, "sampling": settings, "seed": FLAGS.seed}
    if requests:
        choose = sizes_of(networks, size_of(FLAGS.image_size) if FLAGS.image_size else None)
        classes = classes_of(networks)
        negative = settings.get("negative_prompt", "")
        return order_of_requests(FLAGS.out, family, requests, choose, classes, identity, negative)
    split = load_split(networks.config, family, FLAGS.split, FLAGS.condition_module)
    data = {"data": networks.config.data.to_dict(), DATA_SET: split.fingerprint, "split": FLAGS.split}
    return order_of_split(FLAGS.out, split, FLAGS.num, {**identity, **data})


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("sample runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    networks = networks_of_flags()
    medium = networks.family.medium.in_format(FLAGS.format)
    networks = dataclasses.replace(networks, family=dataclasses.replace(networks.family, medium=medium))
    with Lock(Path(FLAGS.out) / ".lock", f"sampling to {FLAGS.out}", "wait for it, or give another --out"):
        draw(networks)


def draw(networks: Networks) -> None:
    """Sample what is asked for and still missing, and the grid of the first ones."""
    settings = sampling_settings(networks)
    # Changes no image, and so may change between two calls.
    configured = settings.pop("batch_size", 16)
    order = order_of(networks, settings)
    total, out = order.total, order.out
    done = out.finished() & set(range(total))
    shown: list[Drawing] = []
    with tqdm(total=total, initial=len(done), unit=networks.family.medium.unit, dynamic_ncols=True) as bar:
        missing = _not_done(order.drawings, done, shown)
        found = batches(missing, min(FLAGS.batch_size or configured, total), order.counts)
        generate_missing(networks.family, networks.side, settings, found, out, bar)
    bare = draw_without_control(networks, settings, shown, out, FLAGS.batch_size or configured)
    captions = [order.caption(drawing.index) for drawing in shown]
    sheet = networks.family.medium.sheet
    out.write_grid(sheet(columns_of(shown, out, bare), blocks=min(4, len(shown)), captions=captions))
    before = f"; {len(done)} of them were there before" if done else ""
    _LOG.info("%d sample%s and grid.png are in %s%s.", total, "" if total == 1 else "s", FLAGS.out, before)


def draw_without_control(
    networks: Networks, settings: Mapping[str, Any], shown: Sequence[Drawing], out: SampleFolder, batch_size: int
) -> SampleFolder | None:
    """Sample the grid's examples without side networks, from the same noise, if still missing; None: not wanted."""
    if not FLAGS.without_control:
        return None
    bare = out.within(WITHOUT_CONTROL)
    done = bare.finished()
    missing = [drawing for drawing in shown if drawing.index not in done]
    counts = Counter(next(iter(drawing.conditions.values())).shape[:-1] for drawing in missing)
    with tqdm(total=len(missing), desc="without control", unit=networks.family.medium.unit, dynamic_ncols=True) as bar:
        found = batches(missing, batch_size, counts)
        generate_missing(networks.family, None, {**settings, "guess_mode": False}, found, bare, bar)
    return bare


def _not_done(drawings: Iterator[Drawing], done: set[int], shown: list[Drawing]) -> Iterator[Drawing]:
    """Drawings whose samples are missing; the first ones of all are put into `shown`, for the grid."""
    for drawing in drawings:
        if len(shown) < GRID_EXAMPLES:
            shown.append(drawing)
        if drawing.index not in done:
            yield drawing


def generate_missing(
    family: Family,
    side: Mapping[str, Params] | None,
    settings: Mapping[str, Any],
    found: Iterator[tuple[list[Drawing], dict[str, Any]]],
    out: SampleFolder,
    bar: tqdm,
) -> None:
    """Sample batches of drawings, without control where there is no side, and write their pictures."""
    # Batches come as large as they are to be.
    generate = make_generator(family, **settings, batch_size=sys.maxsize)
    # Once, not with every batch.
    params = jax.device_put((family.frozen, family.latents.params, side), replicated(make_mesh()))
    for drawings, arrays in found:
        with told_without_memory(arrays["conditions"]):
            samples = generate(*params, **arrays, seed=FLAGS.seed)
        for drawing, sample in zip(drawings, samples, strict=False):
            out.write(drawing.index, sample, drawing.fps)
        bar.update(len(drawings))


@contextlib.contextmanager
def told_without_memory(conditions: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Tell what could not be held in memory, and what would need less."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        count, *size, _ = next(iter(conditions.values())).shape
        raise ValueError(
            f"{count} picture(s) of {'x'.join(map(str, size))} at once take more memory than there is: use a smaller "
            "--batch_size, or where pictures are prompted a smaller --image_size."
        ) from error
