"""Sample images with trained side networks: over a data set, or for prompts and condition pictures.

    python -m lisa_jax sample --workdir=DIR --out=OUT [--split=test] [--num=32]
    python -m lisa_jax sample --workdir=DIR --out=OUT --prompt="a red house" --condition=house.png
    python -m lisa_jax sample --workdir=DIR --out=OUT --listing=rows.jsonl
    python -m lisa_jax sample --workdir=POSE,DEPTH --control_scale=1.0,0.5 ...     several, trained apart
    python -m lisa_jax sample --base=SD --controlnet=FOLDER[,FOLDER] ...           from folders of diffusers

Writes OUT/<index>.png and OUT/grid.png. Sample i depends on (--seed, i), its prompt and its conditions alone. The same
command continues where it was stopped; OUT/settings.json keeps samples of different settings apart.

The grid shows of the first 32 the conditions, the sample with control and without, the real picture where there is one
("decoded" where the data set keeps latents alone), and the caption. Those without control start from the same noise and
lie in OUT/without_control: up to 32 more samples, which --nowithout_control leaves out.

Several side networks, trained apart or together, take a condition each: --condition=a.png,b.png in their order, fields
condition_<name> in a listing. Numbers of --control_scale, --control_start and --control_end are in their order too, or
name=number. A listing is a .jsonl or .csv file with the fields prompt, condition and, if wanted, negative_prompt.

Condition pictures are read as `lisa_jax prepare` reads them. Each sample has its condition's aspect ratio and about as
many pixels as in training; where it cannot, or with --image_size=HEIGHTxWIDTH, the middle of the condition is used, and
that is said. Conditions in colours of classes are resized without mixing any: those that the data set knows as such,
and those of --nearest.
"""

import contextlib
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

from lisa_jax.commands._condition_module import CONDITION_MODULE
from lisa_jax.commands._flags import COUNT, DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.drawing.inputs import Drawing, batches
from lisa_jax.drawing.listing import read_listing
from lisa_jax.drawing.networks import Networks, networks_of_folders, networks_of_runs, sizes_of
from lisa_jax.drawing.order import Order, order_of_requests, order_of_split
from lisa_jax.drawing.output import DATA_SET, SampleFolder
from lisa_jax.drawing.requests import Request, numbers_by_name, requests_of_flags
from lisa_jax.drawing.sheet import columns_of
from lisa_jax.drawing.sizes import SizeText, size_of
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.fields import CONTROL, FACTOR, ROWS, SEED, SHARE
from lisa_jax.experiments.kinds import Text
from lisa_jax.experiments.saved_run import WEIGHTS, load_run
from lisa_jax.experiments.splits import load_split
from lisa_jax.families.family import Family
from lisa_jax.files.lock import Lock
from lisa_jax.files.path_list import split_paths
from lisa_jax.parallel.sharding import make_mesh, replicated
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.samplers.sampler import SAMPLERS

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = flags.DEFINE_string("workdir", None, "Work directories of training runs beside the same base.")
_BASE = DEFINE_checked(
    "base", None, "Base, a folder, a file or owner/name of the hub, with --controlnet for --workdir.", Text()
)
_CONTROLNET = flags.DEFINE_string("controlnet", None, "ControlNets, folders, files or owner/name of the hub.")
_OUT = DEFINE_checked("out", None, "Folder for the pictures.", Folder())
_WEIGHTS = flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters of a run to use.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --base: dtype of weights and compute.")
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "test"], "Split that conditions and captions come from.")
_NUM = DEFINE_checked("num", 32, "Number of examples of the split, from the first on.", COUNT)
_PROMPT = flags.DEFINE_multi_string("prompt", [], "A prompt in place of a split; may be repeated.")
_CONDITION = flags.DEFINE_multi_string("condition", [], "The prompt's condition picture; several with commas between.")
_LISTING = DEFINE_checked("listing", None, "A .jsonl or .csv file of prompts and condition pictures.", Text())
_IMAGE_SIZE = DEFINE_checked(
    "image_size",
    None,
    "HEIGHTxWIDTH of prompted pictures, or one number for both; by default the condition's aspect ratio, with about as "
    "many pixels as in training.",
    SizeText(),
)
_NEAREST = flags.DEFINE_list(
    "nearest", [], "Conditions whose colours are classes, beside those that the data set says: resized without mixing."
)
_SAMPLER = flags.DEFINE_enum("sampler", None, list(SAMPLERS), "The run's by default, as for those below.")
_STEPS = DEFINE_checked("num_steps", None, "Sampling steps.", CONTROL["sampling.num_steps"])
_GUIDANCE = DEFINE_checked("guidance_scale", None, "Classifier-free guidance; 1 is none.", FACTOR)
_NEGATIVE = DEFINE_checked(
    "negative_prompt", None, "What guidance leads away from.", CONTROL["sampling.negative_prompt"]
)
_SCALE = flags.DEFINE_list("control_scale", None, "Factor on the side network's residuals.")
_START = flags.DEFINE_list("control_start", None, "Share of the steps after which control sets in.")
_END = flags.DEFINE_list("control_end", None, "Share of the steps after which control ends.")
_GUESS = flags.DEFINE_bool("guess_mode", None, "Control of the prompted prediction alone, as in diffusers.")
_WITHOUT_CONTROL = flags.DEFINE_bool(
    "without_control", True, "Sample the grid's examples, 32 at most, without control too."
)
_SEED = DEFINE_checked("seed", 0, "Sample i depends on (seed, i) alone.", SEED)
_BATCH = DEFINE_checked("batch_size", None, "Examples at a time; changes no image.", ROWS)

GRID_EXAMPLES = 32
# Folder of the grid's samples without control, in --out.
WITHOUT_CONTROL = "without_control"


def sampling_settings(networks: Networks) -> dict[str, Any]:
    """Keyword arguments of `make_generator`: those of the run, and flags that go before them."""
    names = networks.names
    given = {
        "sampler": _SAMPLER.value,
        "num_steps": _STEPS.value,
        "guidance_scale": _GUIDANCE.value,
        "negative_prompt": _NEGATIVE.value,
        "control_scale": numbers_by_name("control_scale", _SCALE.value, names, FACTOR),
        "control_start": numbers_by_name("control_start", _START.value, names, SHARE),
        "control_end": numbers_by_name("control_end", _END.value, names, SHARE),
        "guess_mode": _GUESS.value,
    }
    return networks.sampling | {name: value for name, value in given.items() if value is not None}


def asked_for(networks: Networks) -> list[Request]:
    """Requests of the flags; none where a split is to be sampled."""
    if _LISTING.value and (_PROMPT.value or _CONDITION.value):
        raise ValueError("--listing holds prompts and conditions: give no --prompt and --condition beside it.")
    if _LISTING.value:
        return read_listing(_LISTING.value, networks.names)
    requests = requests_of_flags(_PROMPT.value, _CONDITION.value, networks.names)
    if not requests and networks.config is None:
        raise ValueError("--base has no data set of its own: give --prompt and --condition, or --listing.")
    if not requests and (_IMAGE_SIZE.value or _NEAREST.value):
        raise ValueError(
            "--image_size and --nearest are of prompted pictures: a split has its own sizes and conditions."
        )
    return requests


def classes_of(networks: Networks) -> frozenset[str]:
    """Names of the conditions whose colours must not be mixed."""
    for name in _NEAREST.value:
        if name not in networks.names:
            raise ValueError(f"--nearest={name}: the conditions are {', '.join(networks.names)}.")
    return networks.classes | set(_NEAREST.value)


def order_of(networks: Networks, settings: Mapping[str, Any]) -> Order:
    """What the flags ask for."""
    requests, family = asked_for(networks), networks.family
    identity = {**networks.identity, "sampling": settings, "seed": _SEED.value}
    if requests:
        choose = sizes_of(networks, size_of(_IMAGE_SIZE.value) if _IMAGE_SIZE.value else None)
        classes = classes_of(networks)
        negative = settings.get("negative_prompt", "")
        return order_of_requests(_OUT.value, family, requests, choose, classes, identity, negative)
    split = load_split(networks.config, family, _SPLIT.value, CONDITION_MODULE.value)
    data = {"data": networks.config.data.to_dict(), DATA_SET: split.fingerprint, "split": _SPLIT.value}
    return order_of_split(_OUT.value, split, _NUM.value, {**identity, **data})


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("sample runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    if bool(_WORKDIR.value) == bool(_BASE.value and _CONTROLNET.value):
        raise ValueError("Give either --workdir, or --base and --controlnet.")
    if _WORKDIR.value:
        weights = _WEIGHTS.value
        networks = networks_of_runs(
            {workdir: load_run(workdir, weights) for workdir in split_paths(_WORKDIR.value)}, weights
        )
    else:
        networks = networks_of_folders(_BASE.value, split_paths(_CONTROLNET.value), _DTYPE.value)
    with Lock(Path(_OUT.value) / ".lock", f"sampling to {_OUT.value}", "wait for it, or give another --out"):
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
    with tqdm(total=total, initial=len(done), unit="image", dynamic_ncols=True) as bar:
        missing = _not_done(order.drawings, done, shown)
        found = batches(missing, min(_BATCH.value or configured, total), order.counts)
        generate_missing(networks.family, networks.side, settings, found, out, bar)
    bare = draw_without_control(networks, settings, shown, out, _BATCH.value or configured)
    captions = [order.caption(drawing.index) for drawing in shown]
    sheet = networks.family.medium.sheet
    out.write_grid(sheet(columns_of(shown, out, bare), blocks=min(4, len(shown)), captions=captions))
    _LOG.info("%d images and grid.png are in %s; %d of them were there before.", total, _OUT.value, len(done))


def draw_without_control(
    networks: Networks, settings: Mapping[str, Any], shown: Sequence[Drawing], out: SampleFolder, batch_size: int
) -> SampleFolder | None:
    """Sample the grid's examples without side networks, from the same noise, if still missing; None: not wanted."""
    if not _WITHOUT_CONTROL.value:
        return None
    bare = out.within(WITHOUT_CONTROL)
    done = bare.finished()
    missing = [drawing for drawing in shown if drawing.index not in done]
    counts = Counter(next(iter(drawing.conditions.values())).shape[:-1] for drawing in missing)
    with tqdm(total=len(missing), desc="without control", unit="image", dynamic_ncols=True) as bar:
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
            samples = generate(*params, **arrays, seed=_SEED.value)
        for drawing, sample in zip(drawings, samples, strict=False):
            out.write(drawing.index, sample)
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


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main, kept="leaving; finished pictures are kept, and the same command draws the others.")
