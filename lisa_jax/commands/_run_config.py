"""The config that a run of `train` wrote, as a config file: `--config=DIR/config.json` starts that run again."""

from pathlib import Path

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from lisa_jax.configs import base
from lisa_jax.experiments.saved_run import read_config_file


def get_config(path: str) -> ConfigDict:
    """The config at `path`, a run's `config.json` under whatever name, in today's words.

    Raises:
      ValueError: it is damaged, or of `pretrain`.
    """
    config = read_config_file(Path(path))
    with config.unlocked():
        _restore_kinds(config, base.control())
    return config


def _restore_kinds(config: ConfigDict, usual: ConfigDict) -> None:
    """Give fields the kinds that flags may set them to, which JSON does not keep."""
    for name in list(config):
        if name not in usual:
            continue
        if isinstance(config[name], ConfigDict) and isinstance(usual[name], ConfigDict):
            _restore_kinds(config[name], usual[name])
            continue
        value, kind = config[name], usual.get_ref(name).get_type()
        if isinstance(value, list):
            value = tuple(value)
        if isinstance(value, kind) or (value is None and usual[name] is None):
            # As a new field, for those that are there keep their kind.
            del config[name]
            config[name] = FieldReference(value, field_type=kind)
