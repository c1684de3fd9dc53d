"""Side networks to sample with: of training runs, or of ControlNet folders."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lisa_jax.checkpoints.folder import DIFFUSERS_WEIGHTS, fingerprint
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.experiments.condition_fields import condition_names
from lisa_jax.experiments.trained_run import TrainedRun
from lisa_jax.families.family import Family
from lisa_jax.families.stable_diffusion import load_stable_diffusion

# Where no run says otherwise: Stable Diffusion as the paper samples it.
DEFAULTS = {"sampler": "dpmpp_2m", "num_steps": 20, "guidance_scale": 7.5}


@dataclasses.dataclass(frozen=True)
class Networks:
    """A base and the side networks to sample with.

    Attributes:
      family: the base; its model is used where `models` is None.
      models: name -> model of side networks that were trained apart, or None.
      names: the side networks, in the user's order; empty where there is one.
      side: their parameters.
      config: config of the run, or of the first one, asking for all conditions; None for folders.
      sampling: settings to start from.
      identity: what tells these networks from others, as JSON.
    """

    family: Family
    models: dict[str, DualBranch] | None
    names: tuple[str, ...]
    side: Params
    config: ConfigDict | None
    sampling: dict[str, Any]
    identity: dict[str, Any]


def networks_of_runs(runs: Mapping[str, TrainedRun], weights: str) -> Networks:
    """Side networks of training runs, by work directory.

    Several are called as their conditions; settings and data set are those of the first run.

    Args:
      runs: work directory -> run, read with `weights`.
      weights: ema, raw or auto.

    Raises:
      ValueError: runs that cannot be combined.
    """
    first_workdir, first = next(iter(runs.items()))
    identity = {
        "base": first.family.fingerprint,
        "side networks": [[str(Path(workdir).resolve()), run.step] for workdir, run in runs.items()],
        "weights": weights,
    }
    config, sampling = first.config, first.config.sampling.to_dict()
    if len(runs) == 1:
        return Networks(first.family, None, condition_names(config) or (), first.side, config, sampling, identity)
    parts: dict[str, TrainedRun] = {}
    for workdir, run in runs.items():
        name = run.config.data.condition
        if run.family.fingerprint != first.family.fingerprint:
            raise ValueError(f"{workdir} was trained beside another base than {first_workdir}: give runs of one base.")
        if condition_names(run.config):
            raise ValueError(f"{workdir} has several side networks that were trained together: give it alone.")
        if name in parts:
            raise ValueError(f"{workdir} has the condition {name}, as another run has: give runs of different ones.")
        parts[name] = run
    asks_for_all = config.to_dict()
    asks_for_all["data"]["condition"] = tuple(parts)
    return Networks(
        first.family,
        {name: run.family.model for name, run in parts.items()},
        tuple(parts),
        {name: run.side for name, run in parts.items()},
        ConfigDict(asks_for_all),
        sampling,
        identity,
    )


def networks_of_folders(base: str, folders: Sequence[str], dtype: str) -> Networks:
    """ControlNet folders beside a Stable Diffusion folder; several are called as their folders.

    Args:
      base: diffusers folder of the base.
      folders: ControlNet folders, at least one.
      dtype: float32 or bfloat16, of weights and compute.

    Raises:
      CheckpointError: a folder that is missing something or does not fit the base.
      ValueError: two folders of the same name.
    """
    names = tuple(Path(folder).resolve().name for folder in folders)
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(folders)} have the same name, which must tell them apart: rename one.")
    several = len(folders) > 1
    family = load_stable_diffusion(
        base,
        conditions=names if several else None,
        start_from=dict(zip(names, folders, strict=True)) if several else folders[0],
        frozen_dtype=dtype,
        compute_dtype=dtype,
    )
    side = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), family.read_side_start())
    prints = [
        fingerprint(Path(folder).resolve().parent, {name: DIFFUSERS_WEIGHTS})
        for folder, name in zip(folders, names, strict=True)
    ]
    identity = {"base": family.fingerprint, "side networks": prints, "dtype": dtype}
    return Networks(family, None, names if several else (), side, None, DEFAULTS, identity)
