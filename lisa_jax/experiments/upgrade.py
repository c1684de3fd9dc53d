"""What earlier versions saved, in today's words. Nothing else in the package knows how configs used to be."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.weighting import UNIFORM

# Of rematerialisation, which was on or off.
_REMAT = {"false": "none", "true": "full"}


def upgraded(config: ConfigDict) -> ConfigDict:
    """The config of an earlier run with today's fields: new ones say what was done before there was a choice."""
    fields = {"preset": None, "diagnostics_every": None, **config.to_dict()}
    fields["remat"] = _REMAT.get(str(fields["remat"]).lower(), fields["remat"])
    fields["data"] = _with_moved_condition(fields["data"])
    fields["lisa"] = {"weighting": UNIFORM, "decoder_width": 1.0, **fields["lisa"]}
    fields["optimizer"] = {"decoder_rate": 1.0, **fields["optimizer"]}
    return ConfigDict(fields)


def upgraded_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The identity (`trained_run.identity`) that was saved with a checkpoint, as it would be saved today."""
    return {"decoder_width": 1.0, **identity, "data": _with_moved_condition(identity["data"])}


def _with_moved_condition(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a data set whose condition, a module:function, may name a module of the package that has moved."""
    condition = data["condition"]
    # Not where there are several: their names are those of the parameters, too.
    if isinstance(condition, str):
        condition = condition.replace("lisa_jax.data.openmoji.", "lisa_jax.data.embedded.openmoji.")
    return {**data, "condition": condition}
