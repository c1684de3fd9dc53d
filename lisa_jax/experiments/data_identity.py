"""What of a run's data its checkpoints are bound to: what they are, not where they lie."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

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
