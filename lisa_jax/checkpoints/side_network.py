"""Folders of side networks: those of diffusers' `ControlNetModel`, and our own where the network is smaller."""

from pathlib import Path

import jax.numpy as jnp

from lisa_jax.checkpoints.configs import config_dict, config_from_dict
from lisa_jax.checkpoints.controlnet import NEUTRAL, controlnet_config, controlnet_key_table, write_controlnet
from lisa_jax.checkpoints.folder import Placement, read_config, read_params, write_config, write_params
from lisa_jax.dual_branch import Params
from lisa_jax.models.controlnet import ControlNetConfig
from lisa_jax.models.small_controlnet import SmallControlNetConfig

# Class that the config of a smaller network names; diffusers has none.
CLASS_NAME = "LisaJaxSideNetwork"


def side_network_config(folder: str | Path) -> ControlNetConfig:
    """Read the config of either kind of folder; raises CheckpointError for what is not supported."""
    config = read_config(folder)
    if config.get("_class_name") == CLASS_NAME:
        return config_from_dict(SmallControlNetConfig, config, NEUTRAL, CLASS_NAME)
    return controlnet_config(config)


def read_side_network(
    folder: str | Path, dtype: jnp.dtype | None = None, placement: Placement = None
) -> tuple[ControlNetConfig, Params]:
    """Read a folder of either kind, told apart by the class that its config names.

    Args:
      folder: holds `config.json` and the safetensors.
      dtype: dtype of the parameters; None keeps the file's.
      placement: where each tensor goes as soon as it is read, see `folders.read_params`.

    Raises:
      CheckpointError: a config that is not supported, or tensors that do not fit it.
    """
    config = side_network_config(folder)
    return config, read_params(folder, controlnet_key_table(config), dtype, placement=placement)


def write_side_network(
    folder: str | Path, config: ControlNetConfig, params: Params, dtype: jnp.dtype | None = None
) -> None:
    """Write a folder that `read_side_network` reads, and diffusers unless the network is smaller than a ControlNet.

    Args:
      folder: made where it is missing.
      config: of the network.
      params: its parameters.
      dtype: dtype in the file; None keeps the tree's.
    """
    if not isinstance(config, SmallControlNetConfig):
        write_controlnet(folder, config, params, dtype)
        return
    write_config(folder, config_dict(config, NEUTRAL), CLASS_NAME)
    write_params(folder, params, controlnet_key_table(config), dtype)
