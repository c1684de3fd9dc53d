"""Stable Diffusion 1.x and 2.x with a ControlNet: folders of diffusers to a `Family`.

The folder holds `unet/`, `scheduler/`, `tokenizer/`, `text_encoder/` and `vae/`. A folder without `vae/` is a base that
works on pixels, like the one that ships with this package.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.clip_text import clip_text_config, read_clip_text
from lisa_jax.checkpoints.folder import (
    DIFFUSERS_WEIGHTS,
    TRANSFORMERS_WEIGHTS,
    CheckpointError,
    Placement,
    fingerprint,
    read_config,
)
from lisa_jax.checkpoints.side_network import write_side_network
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import read_unet, unet_config, write_unet
from lisa_jax.dual_branch import DualBranch, Params, SideOutput
from lisa_jax.families.autoencoder import load_autoencoder
from lisa_jax.families.composed import compose
from lisa_jax.families.family import Family, LatentSpace, TextSpace
from lisa_jax.families.pixels import PIXELS
from lisa_jax.families.side_networks import (
    SideNetwork,
    continued_side_network,
    side_network_of_unet,
    start_params,
)
from lisa_jax.models.alignment_decoder import alignment_decoder
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig, feature_shapes
from lisa_jax.models.unet import Trunk, UNet, UNetConfig
from lisa_jax.processes import Diffusion

# Component folder -> stem of its weights.
COMPONENTS = {
    "unet": DIFFUSERS_WEIGHTS,
    "text_encoder": TRANSFORMERS_WEIGHTS,
    "tokenizer": None,
    "scheduler": None,
}
# Key of the side network where there is one condition.
ONLY = ""
# Parameters of a ControlNet that are no part of its trunk.
ZERO_CONVOLUTIONS = ("controlnet_down_blocks", "controlnet_mid_block")


def load_stable_diffusion(
    folder: str | Path,
    *,
    condition_channels: Sequence[int] = (16, 32, 96, 256),
    conditions: Sequence[str] | None = None,
    start_from: str | Path | Mapping[str, str | Path] | None = None,
    block_out_channels: Sequence[int] | None = None,
    layers_per_block: int | None = None,
    frozen_dtype: str = "bfloat16",
    compute_dtype: str = "bfloat16",
    remat: bool | str = False,
    attention: str = "auto",
    decoder_width: float = 1.0,
    placement: Placement = None,
) -> Family:
    """Load a Stable Diffusion folder and put a side network beside it, or one for each of several conditions.

    The UNet is read at once. The text encoder is read when the first caption is encoded, and what the side network
    starts from (`Family.read_side_start`) when training begins, so that neither is held by who does not need it.

    Args:
      folder: diffusers folder with safetensors weights.
      condition_channels: widths of the condition's encoder; n widths downsample the condition by 2^(n-1), which must
        be the factor between image and latents. Not read for a side network that is continued.
      conditions: names of several conditions, to train or sample together (`families.composed`); None: there is one.
      start_from: folder of a ControlNet to continue, whose config is taken as it is; with several conditions a mapping
        from their names, the others start from the UNet. None: the UNet.
      block_out_channels: channels a level of a smaller side network, finest first; None: the UNet's.
      layers_per_block: layers a level of a smaller side network; None: the UNet's.
      frozen_dtype: dtype of the frozen weights, "bfloat16" or "float32". A copy still starts from the file's values.
      compute_dtype: dtype of activations; norms, softmax, time embedding and loss are float32 anyway.
      remat: what the backward pass of both networks computes again, see `models.remat`.
      attention: implementation of attention, see `models.attention.attend`.
      decoder_width: factor on the hidden channels of the alignment decoders.
      placement: where each tensor of the UNet goes as soon as it is read, see `folders.read_params`; None: it stays in
        numpy.

    Raises:
      CheckpointError: a part that is missing, does not fit its config or does not fit the others, by name.
      ValueError: side network settings that contradict each other or the UNet.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is missing: give the folder of a diffusers Stable Diffusion checkpoint as base."
        )
    dtype = jnp.dtype(compute_dtype)
    config = unet_config(read_config(folder / "unet"))
    scheduler = read_config(folder / "scheduler", "scheduler_config.json")
    text_config = clip_text_config(read_config(folder / "text_encoder"))
    if text_config.hidden_size != config.cross_attention_dim:
        raise CheckpointError(
            f"{folder}: the text encoder is {text_config.hidden_size} wide, but the UNet's cross_attention_dim is "
            f"{config.cross_attention_dim}."
        )
    has_vae = (folder / "vae").is_dir()
    latents = load_autoencoder(folder / "vae", dtype) if has_vae else PIXELS
    _check_latents(folder, config, latents)

    def side_network(start: str | Path | None) -> SideNetwork:
        if start is None:
            return side_network_of_unet(
                folder / "unet", config, condition_channels, block_out_channels, layers_per_block
            )
        if block_out_channels is not None or layers_per_block is not None:
            raise ValueError(
                f"start_from {start} is taken as it is: unset block_out_channels and layers_per_block, or start_from."
            )
        return continued_side_network(start, config)

    sides = {name: side_network(start) for name, start in _starts(conditions, start_from).items()}
    models = {
        name: unet_dual_branch(config, side.config, dtype, remat, attention, decoder_width)
        for name, side in sides.items()
    }
    components = COMPONENTS | ({"vae": DIFFUSERS_WEIGHTS} if has_vae else {})

    def read_side_start() -> Params:
        starts = {name: side.read_start() for name, side in sides.items()}
        return starts if conditions else starts[ONLY]

    def write_side(target: str | Path, params: Params, dtype: jnp.dtype | None = None) -> None:
        for name, side in sides.items():
            if conditions:
                write_side_network(Path(target) / name, side.config, params[name], dtype)
            else:
                write_side_network(target, side.config, params, dtype)

    def write_main(target: str | Path, main: Params) -> None:
        for part in components.keys() - {"unet"}:
            shutil.copytree(folder / part, Path(target) / part, dirs_exist_ok=True)
        write_unet(Path(target) / "unet", config, main)

    return Family(
        model=compose(models) if conditions else models[ONLY],
        frozen=read_unet(folder / "unet", jnp.dtype(frozen_dtype), placement)[1],
        process=Diffusion.from_scheduler_config(scheduler),
        latents=latents,
        encode_text=clip_text_space(folder, text_config),
        scheduler=scheduler,
        read_side_start=read_side_start,
        write_side=write_side,
        write_main=write_main,
        fingerprint=fingerprint(folder, components),
    )


def _starts(
    conditions: Sequence[str] | None, start_from: str | Path | Mapping[str, str | Path] | None
) -> dict[str, str | Path | None]:
    """Name of every side network -> folder that it starts from, or None; the name is ONLY where there is one."""
    if conditions is None:
        if isinstance(start_from, Mapping):
            raise ValueError("start_from has names, but there is one condition: give a folder.")
        return {ONLY: start_from}
    if len(set(conditions)) < len(conditions) or not conditions:
        raise ValueError(f"conditions {tuple(conditions)} must be different names, at least one.")
    if start_from is None:
        return dict.fromkeys(conditions)
    if not isinstance(start_from, Mapping):
        raise ValueError(f"start_from must name a folder for each condition, {', '.join(conditions)}, to continue.")
    unknown = sorted(set(start_from) - set(conditions))
    if unknown:
        raise ValueError(f"start_from names {', '.join(unknown)}, but the conditions are {', '.join(conditions)}.")
    return {name: start_from.get(name) for name in conditions}


def _check_latents(folder: Path, unet: UNetConfig, latents: LatentSpace) -> None:
    """Refuse a UNet that takes more than latents (inpainting, depth) or other ones."""
    channels = latents.shape(1024, 1024)[-1]
    if not channels == unet.in_channels == unet.out_channels:
        raise CheckpointError(
            f"{folder}: latents have {channels} channels, but the UNet takes {unet.in_channels} and gives "
            f"{unet.out_channels}: only bases without further inputs are supported."
        )


def unet_dual_branch(
    unet_config: UNetConfig,
    side_config: ControlNetConfig,
    dtype: jnp.dtype = jnp.float32,
    remat: bool | str = False,
    attention: str = "auto",
    decoder_width: float = 1.0,
) -> DualBranch:
    """The dual-branch model of a UNet and a ControlNet, or a smaller side network.

    Control enters the UNet's skips after its down path and its hidden state after its mid block, so conv_in, time
    embedding, down and mid blocks are the trunk.
    """
    unet, controlnet = UNet(unet_config, dtype, remat, attention), ControlNet(side_config, dtype, remat, attention)
    # Only the ratio of latents to feature matters to the decoder's parameters.
    example = 2 ** (unet_config.levels + 2)
    shapes = feature_shapes(side_config, example, example)
    latent_channels = unet_config.out_channels

    def trunk(frozen: Params, x_t: jax.Array, t: jax.Array, context: jax.Array) -> Trunk:
        return unet.apply({"params": frozen}, x_t, t, context, method="encode")

    def predict(frozen: Params, trunk: Trunk, residuals: tuple[jax.Array, ...] | None = None) -> jax.Array:
        return unet.apply({"params": frozen}, trunk, residuals, method="decode")

    def side(side: Params, x_t: jax.Array, t: jax.Array, context: jax.Array, condition: jax.Array) -> SideOutput:
        return SideOutput(*controlnet.apply({"params": side}, x_t, t, context, condition))

    def init_side(start: Params, key: jax.Array) -> Params:
        size, image = example, example * side_config.conditioning_downsampling
        inputs = (
            jnp.zeros((1, size, size, side_config.in_channels)),
            jnp.zeros((1,)),
            jnp.zeros((1, 1, side_config.cross_attention_dim)),
            jnp.zeros((1, image, image, side_config.conditioning_channels)),
        )
        return start_params(controlnet.init(key, *inputs)["params"], start)

    def decode(decoder: Params, feature: jax.Array, t: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        module = alignment_decoder(feature.shape[1:], shape[1:], dtype, decoder_width)
        return module.apply({"params": decoder}, feature, t)

    def init_decoder(key: jax.Array, hook: str) -> Params:
        module = alignment_decoder(shapes[hook], (example, example, latent_channels), dtype, decoder_width)
        return module.init(key, jnp.zeros((1, *shapes[hook])), jnp.zeros((1,)))["params"]

    def side_trunk(side: Params) -> Params:
        return {name: part for name, part in side.items() if not name.startswith(ZERO_CONVOLUTIONS)}

    return DualBranch(trunk, predict, side, init_side, decode, init_decoder, hooks=tuple(shapes), side_trunk=side_trunk)


def clip_text_space(folder: Path, config: CLIPTextConfig) -> TextSpace:
    """Tokenizer and CLIP text model of a folder: captions -> last hidden state."""

    def encode(params: Params, ids: jax.Array) -> jax.Array:
        return CLIPTextModel(config).apply({"params": params}, ids).last_hidden_state

    return TextSpace(
        load_params=lambda: read_clip_text(folder / "text_encoder", jnp.float32)[1],
        tokenize=load_tokenizer(folder / "tokenizer"),
        encode=encode,
    )
