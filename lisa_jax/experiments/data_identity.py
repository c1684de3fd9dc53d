"""What of a run's data its checkpoints are bound to: what they are, not where they lie."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from lisa_jax.parallel.cluster import noticing_lost_processes

# Fields of `config.data` that say where data are found.
_PLACE = ("name", "dir")


def data_identity(config: ConfigDict, fingerprint: str | None) -> dict[str, Any]:
    """The part of a run's identity that its data decide.

    Args:
      config: field data.
      fingerprint: of the data set; None where it is not read, as by who looks at a checkpoint alone.
    """
    used = {name: value for name, value in config.data.to_dict().items() if name not in _PLACE}
    return {"data": used} | ({} if fingerprint is None else {"data_fingerprint": fingerprint})


def check_same_everywhere(fingerprint: str) -> None:
    """Raise ValueError, in all processes of a run, unless they have found the same data, each on its own machine."""
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(fingerprint.encode()).digest(), np.uint8)
    with noticing_lost_processes(0):
        found = np.asarray(multihost_utils.process_allgather(digest))
    for index, other in enumerate(found):
        if (other != found[0]).any():
            raise ValueError(
                f"Process {index} finds other data than process 0 under the same name: bring the same to all machines."
            )


def with_data_fingerprint(identity: Mapping[str, Any], config: ConfigDict, fingerprint: str | None) -> dict[str, Any]:
    """An identity from before data had a fingerprint, as it would be saved today.

    Data were known by their place then: what lies there now is taken for what it was trained with, and data elsewhere
    for others. Prepared data have their sizes in their fingerprint; what the config said of them was not read.
    """
    data = dict(identity["data"])
    if "name" not in data:
        return dict(identity)
    place, today = (_place(fields) for fields in (data, config.data.to_dict()))
    used = {name: value for name, value in data.items() if name not in _PLACE}
    if data["name"] == "prepared":
        used["image_size"] = config.data.image_size
    found = fingerprint if place == today else f"that of {place}, noted by its place alone"
    return {**identity, "data": used} | ({} if fingerprint is None else {"data_fingerprint": found})


def _place(data: Mapping[str, Any]) -> str:
    return str(Path(data["dir"]).absolute()) if "dir" in data else data["name"]
