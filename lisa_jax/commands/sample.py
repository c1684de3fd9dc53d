"""Sample images with trained side networks: over a data set, or for prompts and condition pictures.

    python -m lisa_jax sample --workdir=DIR --out=OUT [--split=test] [--num=32]
    python -m lisa_jax sample --workdir=DIR --out=OUT --prompt="a red house" --condition=house.png
    python -m lisa_jax sample --workdir=DIR --out=OUT --listing=rows.jsonl
    python -m lisa_jax sample --workdir=POSE,DEPTH --control_scale=1.0,0.5 ...     several, trained apart
    python -m lisa_jax sample --base=SD --controlnet=FOLDER[,FOLDER] ...           from folders of diffusers

Writes OUT/<index>.png and OUT/grid.png. Sample i depends on (--seed, i), its prompt and its conditions alone. The same
command continues where it was stopped; OUT/settings.json keeps samples of different settings apart.

Several side networks, trained apart or together, take a condition each: --condition=a.png,b.png in their order, fields
condition_<name> in a listing. Numbers of --control_scale, --control_start and --control_end are in their order too, or
name=number. A listing is a .jsonl or .csv file with the fields prompt, condition and, if wanted, negative_prompt.
"""

import logging
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from lisa_jax.commands._condition_module import CONDITION_MODULE
from lisa_jax.commands._run import run_command
from lisa_jax.drawing.inputs import Drawing, batches, drawings_of_requests, drawings_of_split, stacked
from lisa_jax.drawing.networks import Networks, networks_of_folders, networks_of_runs
from lisa_jax.drawing.output import SampleFolder
from lisa_jax.drawing.requests import Request, numbers_by_name, read_listing, requests_of_flags
from lisa_jax.experiments.base import example_size
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.experiments.splits import load_split
from lisa_jax.parallel.sharding import make_mesh, replicated
from lisa_jax.sampling.generate import make_generator

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = flags.DEFINE_list("workdir", [], "Work directories of training runs beside the same base.")
_BASE = flags.DEFINE_string("base", None, "Folder of the base, with --controlnet in place of --workdir.")
_CONTROLNET = flags.DEFINE_list("controlnet", [], "ControlNet folders.")
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", ["auto", "ema", "raw"], "Which parameters of a run to use.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --base: dtype of weights and compute.")
_SPLIT = flags.DEFINE_string("split", "test", "Split that conditions and captions come from.")
_NUM = flags.DEFINE_integer("num", 32, "Number of examples of the split, from the first on.", lower_bound=1)
_PROMPT = flags.DEFINE_multi_string("prompt", [], "A prompt in place of a split; may be repeated.")
_CONDITION = flags.DEFINE_multi_string("condition", [], "The prompt's condition picture; several with commas between.")
_LISTING = flags.DEFINE_string("listing", None, "A .jsonl or .csv file of prompts and condition pictures.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Side of prompted pictures; the run's, or 512, by default.")
_SAMPLER = flags.DEFINE_string("sampler", None, "ddim, euler or dpmpp_2m; the run's by default, as for those below.")
_STEPS = flags.DEFINE_integer("num_steps", None, "Sampling steps.")
_GUIDANCE = flags.DEFINE_float("guidance_scale", None, "Classifier-free guidance; 1 is none.")
_NEGATIVE = flags.DEFINE_string("negative_prompt", None, "What guidance leads away from.")
_SCALE = flags.DEFINE_list("control_scale", None, "Factor on the side network's residuals.")
_START = flags.DEFINE_list("control_start", None, "Share of the steps after which control sets in.")
_END = flags.DEFINE_list("control_end", None, "Share of the steps after which control ends.")
_GUESS = flags.DEFINE_bool("guess_mode", None, "Control of the prompted prediction alone, as in diffusers.")
_SEED = flags.DEFINE_integer("seed", 0, "Sample i depends on (seed, i) alone.")
_BATCH = flags.DEFINE_integer("batch_size", None, "Examples at a time; changes no image.", lower_bound=1)

GRID_EXAMPLES = 32


def sampling_settings(networks: Networks) -> dict[str, Any]:
    """Keyword arguments of `make_generator`: those of the run, and flags that go before them."""
    names = networks.names
    given = {
        "sampler": _SAMPLER.value,
        "num_steps": _STEPS.value,
        "guidance_scale": _GUIDANCE.value,
        "negative_prompt": _NEGATIVE.value,
        "control_scale": numbers_by_name("control_scale", _SCALE.value, names),
        "control_start": numbers_by_name("control_start", _START.value, names),
        "control_end": numbers_by_name("control_end", _END.value, names),
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
    return requests


def asked_size(networks: Networks) -> tuple[int, ...]:
    """Size of prompted pictures: the flag's, else that of the run's examples."""
    if _IMAGE_SIZE.value is not None:
        return (_IMAGE_SIZE.value, _IMAGE_SIZE.value)
    return example_size(networks.config) if networks.config else (512, 512)


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("sample runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    if bool(_WORKDIR.value) == bool(_BASE.value and _CONTROLNET.value):
        raise ValueError("Give either --workdir, or --base and --controlnet.")
    if _WORKDIR.value:
        weights = _WEIGHTS.value
        networks = networks_of_runs({workdir: load_run(workdir, weights) for workdir in _WORKDIR.value}, weights)
    else:
        networks = networks_of_folders(_BASE.value, _CONTROLNET.value, _DTYPE.value)
    family, settings, requests = networks.family, sampling_settings(networks), asked_for(networks)
    # Changes no image, and so may change between two calls.
    configured = settings.pop("batch_size", 16)
    batch_size = _BATCH.value or configured
    identity = networks.identity | {"sampling": settings, "seed": _SEED.value}
    if requests:
        size = asked_size(networks)
        digests = [request.digest() for request in requests]
        out = SampleFolder(_OUT.value, family.medium, identity | {"image_size": list(size)}, digests)
        negative = settings.get("negative_prompt", "")
        drawings = drawings_of_requests(requests, family.conditioner, negative, size)
        total = len(requests)
    else:
        split = load_split(networks.config, family, _SPLIT.value, CONDITION_MODULE.value)
        total = min(_NUM.value, len(split.source))
        data = {"data": networks.config.data.to_dict(), "split": _SPLIT.value}
        out = SampleFolder(_OUT.value, family.medium, identity | data)
        drawings = drawings_of_split(split, total)

    done = out.finished() & set(range(total))
    shown: list[Drawing] = []
    with tqdm(total=total, initial=len(done), unit="image", dynamic_ncols=True) as bar:
        generate_missing(networks, settings, _not_done(drawings, done, shown), out, min(batch_size, total), bar)
    columns = {
        **stacked([drawing.conditions for drawing in shown]),
        "sample": np.stack([out.read(drawing.index) for drawing in shown]),
    }
    if shown[0].reference is not None:
        columns["reference"] = np.stack([drawing.reference for drawing in shown])
    out.write_grid(family.medium.sheet(columns, blocks=min(4, len(shown))))
    _LOG.info("%d images and grid.png are in %s; %d of them were there before.", total, _OUT.value, len(done))


def _not_done(drawings: Iterator[Drawing], done: set[int], shown: list[Drawing]) -> Iterator[Drawing]:
    """Drawings whose samples are missing; the first ones of all are put into `shown`, for the grid."""
    for drawing in drawings:
        if len(shown) < GRID_EXAMPLES:
            shown.append(drawing)
        if drawing.index not in done:
            yield drawing


def generate_missing(
    networks: Networks,
    settings: dict[str, Any],
    drawings: Iterator[Drawing],
    out: SampleFolder,
    batch_size: int,
    bar: tqdm,
) -> None:
    """Sample drawings and write their pictures."""
    family = networks.family
    generate = make_generator(family, **settings, batch_size=batch_size)
    # Once, not with every batch.
    params = jax.device_put((family.frozen, family.latents.params, networks.side), replicated(make_mesh()))
    for found, arrays in batches(drawings, batch_size):
        samples = generate(*params, **arrays, seed=_SEED.value)
        for drawing, sample in zip(found, samples, strict=False):
            out.write(drawing.index, sample)
        bar.update(len(found))


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main, kept="leaving; finished pictures are kept, and the same command draws the others.")
