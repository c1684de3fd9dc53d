"""The config that a run of `train` or `pretrain` wrote, as a config file: `--config=DIR/config.json`."""

from pathlib import Path

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from lisa_jax.configs import base
from lisa_jax.experiments.saved_run import read_config_file


def get_config(path: str) -> ConfigDict:
    """The config at `path`, a run's `config.json` under whatever name, in today's words.

    Raises:
      ValueError: it is damaged.
    """
    config = read_config_file(Path(path))
    with config.unlocked():
        _restore_kinds(config, base.control())
    return config


def _restore_kinds(config: ConfigDict, usual: ConfigDict) -> None:
    """Give fields the kinds that flags may set them to, which JSON does not keep."""
    for name in list(config):
        value = tuple(config[name]) if isinstance(config[name], list) else config[name]
        if isinstance(value, ConfigDict):
            _restore_kinds(value, usual.get(name, ConfigDict()))
            continue
        kind = usual.get_ref(name).get_type() if name in usual else type(value)
        if isinstance(value, kind) or (value is None and usual.get(name) is None):
            # As a new field, for those that are there keep their kind.
            del config[name]
            config[name] = FieldReference(value, field_type=kind)
