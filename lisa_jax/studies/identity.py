"""What tells one study from another: code, base, data, protocol, and the networks that measure."""

from typing import Any

from ml_collections import ConfigDict

from lisa_jax.evaluation.estimators import estimators_of
from lisa_jax.experiments.base import example_size
from lisa_jax.studies.code import code_fingerprint
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.training_config import known_conditions, shared_fields

# What a config says beside its cells and what of it may change within one study.
NOT_IDENTITY = ("title", "grids", "defaults", "save_side", "extractor")


def study_identity(laboratory: Laboratory) -> dict[str, Any]:
    """All that two results must share to be compared."""
    config = laboratory.config
    read_by = estimators_of(known_conditions(config), example_size(config.training)[-1])
    return {
        "code": code_fingerprint(),
        "base": laboratory.base_fingerprint,
        "data": laboratory.data_fingerprint,
        "protocol": _protocol(config),
        "estimators": {task: estimator.sha256 for task, estimator in read_by.items()},
    }


def _protocol(config: ConfigDict) -> dict[str, Any]:
    fields = {name: value for name, value in config.to_dict().items() if name not in NOT_IDENTITY}
    training = shared_fields(config)
    # Where the base lies does not matter, for it has a fingerprint.
    del training["base"]
    return {**fields, "training": training}
