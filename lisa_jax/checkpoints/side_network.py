"""Side networks: ControlNets of diffusers, and our own where the network is smaller; the config names which it is."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.recognise import no_side_network
from lisa_jax.models.small_controlnet import SmallControlNetConfig

# diffusers has no class for it.
SMALL_CONTROLNET = dataclasses.replace(
    CONTROLNET,
    config_file=dataclasses.replace(
        CONTROLNET.config_file, class_name="LisaJaxSideNetwork", kind=SmallControlNetConfig
    ),
)

# Class that a config names -> how such a network is read and written.
SIDE_NETWORKS: dict[str, Component] = {
    component.config_file.class_name: component for component in (CONTROLNET, SMALL_CONTROLNET)
}


def stored_side_network(checkpoint: Checkpoint, kinds: Mapping[str, Component] = SIDE_NETWORKS) -> Component:
    """The kind of side network that a checkpoint holds.

    Args:
      checkpoint: of a side network.
      kinds: those that go beside a base, by class; a config that names no class is of the first.

    Raises:
      CheckpointError: a config that is missing, or names another class.
    """
    has_config = checkpoint.has_config()
    name = str(checkpoint.config().get("_class_name", next(iter(kinds)))) if has_config else ""
    if name not in kinds:
        told = no_side_network(Path(checkpoint.where()), name, " or a ".join(kinds))
        if told is None and not has_config:
            checkpoint.config()
        raise CheckpointError(
            told
            or f"{checkpoint.where(name='config.json')}: _class_name {name[:80]!r} is not supported here: this reads a "
            f"{' or a '.join(kinds)}."
        )
    return kinds[name]


def side_network_of(config: Any) -> Component:
    """The kind of side network that a config is of."""
    return next(component for component in SIDE_NETWORKS.values() if type(config) is component.config_file.kind)
