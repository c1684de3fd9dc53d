"""The side network of a UNet: a copy of its encoder, a smaller one, or one that was trained before."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from lisa_jax.checkpoints.control_lora import check_control_lora, is_control_lora, read_control_lora
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.side_network import stored_side_network
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.dual_branch import Params
from lisa_jax.media.channels import MOST_CHANNELS, RGB
from lisa_jax.models.controlnet import (
    COPIED_FROM_UNET,
    ControlNetConfig,
    controlnet_config_from_unet,
    feature_shapes,
    residual_channels,
)
from lisa_jax.models.small_controlnet import small_controlnet_config
from lisa_jax.models.temporal_controlnet import TemporalControlNetConfig
from lisa_jax.models.unet import UNetConfig


@dataclasses.dataclass(frozen=True)
class SideStart:
    """A side network before training.

    Attributes:
      config: of the network, of a Control-LoRA that of the whole network.
      read_start: reads the weights that it starts from, numpy arrays in the precision of their file. Callers let go of
        them once the float32 parameters are made.
      rank: of the factors in place of the copied kernels, see `low_rank`; None: the network has kernels of its own.
    """

    config: ControlNetConfig | TemporalControlNetConfig
    read_start: Callable[[], Params]
    rank: int | None = None


def side_network_of_unet(
    checkpoint: Checkpoint | None,
    unet: UNetConfig,
    condition_channels: Sequence[int],
    block_out_channels: Sequence[int] | None = None,
    layers_per_block: int | None = None,
    *,
    conditioning_channels: int = RGB,
    lora_rank: int | None = None,
) -> SideStart:
    """A ControlNet that starts as a copy of the UNet's encoder, a smaller network, or a Control-LoRA.

    Of the encoder, a smaller network takes over the layers whose tensors all have its own shapes; the rest is fresh. A
    Control-LoRA takes over norms and biases, and uses the kernels where they lie.

    Args:
      checkpoint: has the UNet's weights as its component `unet`; None: everything is fresh.
      unet: its config.
      condition_channels: widths of the condition's encoder.
      block_out_channels: channels of the levels of a smaller network, finest first, as many levels as it is to have;
        None: the UNet's.
      layers_per_block: layers a level of a smaller network; None: the UNet's.
      conditioning_channels: channels of the condition.
      lora_rank: rank of a Control-LoRA's factors; None: it is none.

    Raises:
      ValueError: a UNet that no ControlNet copies, more levels or layers than it has, or a smaller Control-LoRA.
    """
    config = controlnet_config_from_unet(unet, tuple(condition_channels))
    config = dataclasses.replace(config, conditioning_channels=conditioning_channels)
    if block_out_channels is not None or layers_per_block is not None:
        if lora_rank is not None:
            raise ValueError(
                f"side.lora_rank is {lora_rank}, but only a whole copy uses the base's kernels: unset it, or unset "
                "side.block_out_channels and side.layers_per_block."
            )
        channels = None if block_out_channels is None else tuple(block_out_channels)
        config = small_controlnet_config(config, channels, layers_per_block)

    def read_start() -> Params:
        if checkpoint is None:
            return {}
        layers = shared_layers(UNET.key_table(unet), CONTROLNET.key_table(config))
        if lora_rank is not None:
            layers = {key: entry for key, entry in layers.items() if entry.path[-1] != "kernel"}
        return UNET.read_params(checkpoint, "unet", layers, whole=False)

    return SideStart(config, read_start, lora_rank)


def continued_side_network(spec: str, unet: UNetConfig, conditioning_channels: int | None = None) -> SideStart:
    """A side network that was trained before; its config is taken as it is.

    Args:
      spec: a ControlNet of diffusers, a smaller network of ours or a Control-LoRA, as `open_checkpoint` takes it.
      unet: the UNet that is to take its residuals.
      conditioning_channels: channels of the condition that it is to see; None: those that it was trained with.

    Raises:
      CheckpointError: a config that is not supported, or a network that does not fit the UNet or the condition.
    """
    checkpoint = open_checkpoint(spec)
    if is_control_lora(checkpoint):
        return _continued_control_lora(checkpoint, unet, conditioning_channels)
    component = stored_side_network(checkpoint)
    config = component.config(checkpoint)
    for name in ("in_channels", "cross_attention_dim", "addition_embed_type", "pooled_dim"):
        if getattr(config, name) != getattr(unet, name):
            raise CheckpointError(
                f"{spec} has {name} {getattr(config, name)}, but the UNet {getattr(unet, name)}: it belongs to "
                "another base."
            )
    check_condition(spec, config, conditioning_channels)
    taken = _residual_shapes(controlnet_config_from_unet(unet))
    # What a smaller network does not have fits in any size.
    given = {name: (*taken.get(name, ())[:2], width) for name, width in residual_channels(config).items()}
    given |= _residual_shapes(config)
    for name in dict.fromkeys((*taken, *given)):
        if given.get(name) != taken.get(name):
            raise CheckpointError(
                f"{spec} does not fit the UNet: it gives {len(given)} residuals and the UNet takes {len(taken)}; at "
                f"latents of 64 x 64, {name} is {given.get(name, 'missing')} and should be {taken.get(name, 'absent')}."
            )
    return SideStart(config, lambda: component.read(checkpoint)[1])


def _continued_control_lora(checkpoint: Checkpoint, unet: UNetConfig, conditioning_channels: int | None) -> SideStart:
    """A Control-LoRA that was trained before: all that its file does not say is the UNet's."""
    told = checkpoint.config()
    rank, widths = told["lora_rank"], tuple(told["conditioning_embedding_out_channels"])
    try:
        config = dataclasses.replace(
            controlnet_config_from_unet(unet, widths), conditioning_channels=told["conditioning_channels"]
        )
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.where()}: {error}") from error
    check_condition(checkpoint.where(), config, conditioning_channels)
    check_control_lora(checkpoint, config, rank)
    return SideStart(config, lambda: read_control_lora(checkpoint, config, rank), rank)


def check_condition(
    spec: str, config: ControlNetConfig | TemporalControlNetConfig, conditioning_channels: int | None
) -> None:
    """Refuse a side network that sees other conditions than the data has, where that is known."""
    if conditioning_channels not in (None, config.conditioning_channels):
        raise CheckpointError(
            f"{spec} has conditioning_channels {config.conditioning_channels}, but the data's condition has "
            f"{conditioning_channels}: prepare data of as many, or leave it out of side.start_from."
        )
    if config.conditioning_channels > MOST_CHANNELS:
        raise CheckpointError(
            f"{spec} has conditioning_channels {config.conditioning_channels}, but conditions have {MOST_CHANNELS} at "
            "most."
        )


def _residual_shapes(config: ControlNetConfig) -> dict[str, tuple[int, int, int]]:
    """(h, w, c) of every residual that the side network makes, for latents of 64 x 64."""
    channels = residual_channels(config)
    return {name: (*shape[:2], channels[name]) for name, shape in feature_shapes(config, 64, 64).items()}


def shared_layers(unet: Mapping[str, Entry], side: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries of the UNet's encoder layers all of whose tensors have the side network's shapes."""
    encoder = {key: entry for key, entry in unet.items() if entry.path[0].startswith(COPIED_FROM_UNET)}
    differs = {entry.path[:-1] for key, entry in encoder.items() if key not in side or side[key].shape != entry.shape}
    return {key: entry for key, entry in encoder.items() if entry.path[:-1] not in differs}


def encoder_kernels(checkpoint: Checkpoint, unet: UNetConfig) -> Params:
    """The kernels of a UNet that ControlNets copy, numpy arrays in the precision of their file."""
    table = {
        key: entry
        for key, entry in UNET.key_table(unet).items()
        if entry.path[0].startswith(COPIED_FROM_UNET) and entry.path[-1] == "kernel"
    }
    return UNET.read_params(checkpoint, "unet", table, whole=False)


def all_but(pattern: str) -> Callable[[Params], Params]:
    """Parameters -> those of all layers but the ones whose names match, for `SideNetwork.trunk`."""
    return lambda params: {name: part for name, part in params.items() if not re.match(pattern, name)}


def start_params(fresh: Mapping, start: Mapping, path: str = "") -> dict:
    """Replace the fresh parameters that `start` has by its own, as float32.

    Args:
      fresh: a fresh tree.
      start: tree of arrays of any dtype. What the fresh tree does not have, as a UNet's up path, is not read.
      path: where in the whole tree this is, for messages.

    Raises:
      ValueError: an array of another shape than the fresh one, by path.
    """
    tree = {}
    for name, leaf in fresh.items():
        here = f"{path}{name}"
        if name not in start:
            tree[name] = leaf
        elif isinstance(leaf, Mapping):
            tree[name] = start_params(leaf, start[name], f"{here}/")
        elif leaf.shape != start[name].shape:
            raise ValueError(
                f"The side network cannot start from {here} of shape {start[name].shape}: its own is {leaf.shape}."
            )
        else:
            tree[name] = jnp.asarray(start[name], jnp.float32)
    return tree
