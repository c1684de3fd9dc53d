"""Side networks to sample with: of training runs, or of ControlNet folders."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS
from lisa_jax.data.conditions.names import identifier_of
from lisa_jax.drawing.class_colours import class_conditions
from lisa_jax.drawing.sizes import Size, Sizes
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.base import example_size
from lisa_jax.experiments.conditions import condition_specs
from lisa_jax.experiments.saved_run import TrainedRun
from lisa_jax.families.family import Family, Setup
from lisa_jax.families.registry import load_family
from lisa_jax.sampling.samplers.sampler import fitting_samplers

# Where no run says otherwise: Stable Diffusion as the paper samples it; what it does not fit, by the first that does.
DEFAULTS = {"sampler": "dpmpp_2m", "num_steps": 20, "guidance_scale": 7.5}
# Of prompted pictures where neither run nor base says how large pictures were in training.
FOLDER_SIZE = (512, 512)


@dataclasses.dataclass(frozen=True)
class Networks:
    """A base and the side networks to sample with.

    Attributes:
      family: the base, whose model has these side networks.
      names: the side networks, in the user's order.
      side: their parameters by name.
      config: config of the run, or of the first one, asking for all conditions; None for folders.
      sampling: settings to start from.
      identity: what tells these networks from others, as JSON.
      classes: names of the conditions that are known to be in colours of classes.
    """

    family: Family
    names: tuple[str, ...]
    side: dict[str, Params]
    config: ConfigDict | None
    sampling: dict[str, Any]
    identity: dict[str, Any]
    classes: frozenset[str] = frozenset()


def networks_of_runs(runs: Mapping[str, TrainedRun], weights: str) -> Networks:
    """Side networks of training runs, by work directory; they are called as their conditions.

    Settings and data set are those of the first run.

    Args:
      runs: work directory -> run, read with `weights`.
      weights: see `saved_run.WEIGHTS`.

    Raises:
      ValueError: runs that cannot be combined.
    """
    first_workdir, first = next(iter(runs.items()))
    specs: dict[str, str] = {}
    sides, params, channels = {}, {}, {}
    for workdir, run in runs.items():
        if run.family.fingerprint != first.family.fingerprint:
            raise ValueError(f"{workdir} was trained beside another base than {first_workdir}: give runs of one base.")
        if len(run.side) > 1 and len(runs) > 1:
            raise ValueError(f"{workdir} has several side networks that were trained together: give it alone.")
        for name, spec in condition_specs(run.config).items():
            if name in specs:
                raise ValueError(
                    f"{workdir} has the condition {name}, as another run has: export both by `lisa_jax export`, to "
                    f"folders of different names, and give these as --controlnet with --base={run.config.base}."
                )
            specs[name] = spec
        sides, params = {**sides, **run.family.model.sides}, {**params, **run.side}
        channels |= run.family.conditioning_channels
    asks_for_all = first.config.to_dict()
    if len(runs) > 1:
        asks_for_all["data"]["condition"] = tuple(specs.values())
        asks_for_all["data"] |= {"conditioning_channels": channels} if channels else {}
    model = dataclasses.replace(first.family.model, sides=sides)
    return Networks(
        dataclasses.replace(first.family, model=model, conditioning_channels=channels),
        tuple(specs),
        params,
        ConfigDict(asks_for_all),
        first.config.sampling.to_dict(),
        {
            "base": first.family.fingerprint,
            "side networks": [[str(Path(workdir).resolve()), run.step] for workdir, run in runs.items()],
            "weights": weights,
        },
        frozenset().union(*(class_conditions(run.config) for run in runs.values())),
    )


def networks_of_folders(
    base: str, folders: Sequence[str], dtype: str, leave_out: Sequence[str] = (), vae: str | None = None
) -> Networks:
    """ControlNets beside a base; they are called as their folders or files, `identifier_of` whose names is taken.

    Args:
      base: checkpoint of the base.
      folders: ControlNet folders or files, at least one.
      dtype: float32 or bfloat16, of weights and compute.
      leave_out: components that the base is to do without.
      vae: checkpoint of a VAE in place of the base's.

    Raises:
      CheckpointError: a folder that is missing something or does not fit the base.
      ValueError: two folders of the same name.
    """
    names = tuple(map(_name, folders))
    if len(set(names)) < len(names):
        raise ValueError(
            f"{', '.join(folders)} go by the names {', '.join(names)}, which must tell them apart: rename one."
        )
    starts = dict(zip(names, folders, strict=True))
    setup = Setup(names, start_from=starts, frozen_dtype=dtype, compute_dtype=dtype)
    family = load_family(base, setup, leave_out=leave_out, vae=vae)
    side = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), family.read_start())
    prints = [open_checkpoint(folder).fingerprint({"": DIFFUSERS_WEIGHTS}) for folder in folders]
    identity = {"base": family.fingerprint, "side networks": prints, "dtype": dtype}
    fitting = fitting_samplers(family.process)
    sampling = DEFAULTS if DEFAULTS["sampler"] in fitting else DEFAULTS | {"sampler": fitting[0]}
    return Networks(family, names, side, None, sampling | dict(family.sampling), identity)


def _name(spec: str) -> str:
    path = Path(spec)
    # A file of the hub's cache is a link to one that is called by its hash.
    return identifier_of(path.stem if path.suffix == ".safetensors" else path.resolve().name)


def sizes_of(networks: Networks, asked: Size | None = None) -> Sizes:
    """Which size each prompted picture, or frame of a video, gets; `asked`, (height, width), for all.

    Raises:
      ValueError: a size that its latents cannot have.
    """
    *frames, height, width = trained_size(networks)
    return Sizes((height, width), partial(networks.family.latents.shape, *frames), asked)


def trained_size(networks: Networks) -> tuple[int, ...]:
    """(H, W) of the pictures in training, or (F, H, W) of the videos; of folders as far as their base says it.

    Raises:
      ValueError: a base of videos that does not say how many frames these have.
    """
    found = example_size(networks.config) if networks.config else networks.family.size or FOLDER_SIZE
    if len(found) != networks.family.medium.axes:
        raise ValueError("This base makes videos, of a number of frames that it does not say: give a --workdir.")
    return found
