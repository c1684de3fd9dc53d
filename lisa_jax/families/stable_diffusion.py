"""Stable Diffusion 1.x and 2.x with a ControlNet: folders of diffusers to a `Family`.

The folder holds `unet/`, `scheduler/`, `tokenizer/` and `text_encoder/`. A folder without `vae/` is a base that works
on pixels, like the one that ships with this package.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.data.tokenizer import load_tokenizer
from lisa_jax.diffusers_io.clip_text import read_clip_text
from lisa_jax.diffusers_io.controlnet import write_controlnet
from lisa_jax.diffusers_io.folders import (
    DIFFUSERS_WEIGHTS,
    TRANSFORMERS_WEIGHTS,
    CheckpointError,
    fingerprint,
    read_config,
)
from lisa_jax.diffusers_io.unet import read_unet, write_unet
from lisa_jax.dual_branch import DualBranch, Params, SideOutput
from lisa_jax.families.family import Family
from lisa_jax.families.pixels import PIXELS
from lisa_jax.models.alignment_decoder import alignment_decoder
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.controlnet import (
    ControlNet,
    ControlNetConfig,
    controlnet_config_from_unet,
    controlnet_params_from_unet,
    feature_shapes,
)
from lisa_jax.models.unet import Trunk, UNet, UNetConfig
from lisa_jax.processes import Diffusion
from lisa_jax.sampling.ddim import ddim_options

TEXT_BATCH = 64
# Component folder -> stem of its weights.
COMPONENTS = {
    "unet": DIFFUSERS_WEIGHTS,
    "text_encoder": TRANSFORMERS_WEIGHTS,
    "tokenizer": None,
    "scheduler": None,
}


def load_stable_diffusion(
    folder: str | Path,
    *,
    condition_channels: Sequence[int] = (16, 32, 96, 256),
    frozen_dtype: str = "bfloat16",
    compute_dtype: str = "bfloat16",
    remat: bool = False,
) -> Family:
    """Load a Stable Diffusion folder.

    Args:
      folder: diffusers folder with safetensors weights.
      condition_channels: widths of the condition's encoder; n widths downsample the condition by 2^(n-1), which must
        be the factor between image and latents.
      frozen_dtype: dtype of the frozen weights, "bfloat16" or "float32".
      compute_dtype: dtype of activations; norms, softmax, time embedding and loss are float32 anyway.
      remat: recompute activations of both networks in the backward pass.

    Raises:
      CheckpointError: a part that is missing or does not fit its config, by name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is missing: give the folder of a diffusers Stable Diffusion checkpoint as base."
        )
    if (folder / "vae").exists():
        raise CheckpointError(f"{folder / 'vae'}: bases with a VAE are not supported yet, only bases on pixels.")
    unet_config, frozen = read_unet(folder / "unet", jnp.dtype(frozen_dtype))
    scheduler = read_config(folder / "scheduler", "scheduler_config.json")
    side_config = controlnet_config_from_unet(unet_config, tuple(condition_channels))
    text_encoder = _TextEncoder(folder)
    if text_encoder.width != unet_config.cross_attention_dim:
        raise CheckpointError(
            f"{folder}: the text encoder is {text_encoder.width} wide, but the UNet's cross_attention_dim is "
            f"{unet_config.cross_attention_dim}."
        )

    def write_main(target: str | Path, main: Params) -> None:
        for part in ("scheduler", "tokenizer", "text_encoder"):
            shutil.copytree(folder / part, Path(target) / part, dirs_exist_ok=True)
        write_unet(Path(target) / "unet", unet_config, main)

    return Family(
        model=unet_dual_branch(unet_config, side_config, jnp.dtype(compute_dtype), remat),
        frozen=frozen,
        process=Diffusion.from_scheduler_config(scheduler),
        latents=PIXELS,
        encode_text=text_encoder,
        sampler_options=ddim_options(scheduler),
        write_side=lambda target, side: write_controlnet(target, side_config, side),
        write_main=write_main,
        fingerprint=fingerprint(folder, COMPONENTS),
    )


def unet_dual_branch(
    unet_config: UNetConfig, side_config: ControlNetConfig, dtype: jnp.dtype = jnp.float32, remat: bool = False
) -> DualBranch:
    """The dual-branch model of a UNet and a ControlNet.

    Control enters the UNet's skips after its down path and its hidden state after its mid block, so conv_in, time
    embedding, down and mid blocks are the trunk.
    """
    unet, controlnet = UNet(unet_config, dtype, remat), ControlNet(side_config, dtype, remat)
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

    def init_side(frozen: Params, key: jax.Array) -> Params:
        size, image = example, example * side_config.conditioning_downsampling
        inputs = (
            jnp.zeros((1, size, size, side_config.in_channels)),
            jnp.zeros((1,)),
            jnp.zeros((1, 1, side_config.cross_attention_dim)),
            jnp.zeros((1, image, image, side_config.conditioning_channels)),
        )
        return controlnet_params_from_unet(frozen, controlnet.init(key, *inputs)["params"])

    def decode(decoder: Params, feature: jax.Array, t: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return alignment_decoder(feature.shape[1:], shape[1:], dtype).apply({"params": decoder}, feature, t)

    def init_decoder(key: jax.Array, hook: str) -> Params:
        module = alignment_decoder(shapes[hook], (example, example, latent_channels), dtype)
        return module.init(key, jnp.zeros((1, *shapes[hook])), jnp.zeros((1,)))["params"]

    return DualBranch(trunk, predict, side, init_side, decode, init_decoder, tuple(shapes))


class _TextEncoder:
    """Tokenizer and CLIP text model of a folder: captions -> last hidden state, float32 (n, length, width)."""

    def __init__(self, folder: Path):
        config, self._params = read_clip_text(folder / "text_encoder", jnp.float32)
        self._tokenizer = load_tokenizer(folder / "tokenizer")
        self._apply = jax.jit(
            lambda params, ids: CLIPTextModel(config).apply({"params": params}, ids).last_hidden_state
        )
        self.width = config.hidden_size

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        ids = self._tokenizer(captions)
        rows = []
        for start in range(0, len(ids), TEXT_BATCH):
            chunk = ids[start : start + TEXT_BATCH]
            # Padded to one size, so that one compiled program serves all.
            padded = np.pad(chunk, ((0, TEXT_BATCH - len(chunk)), (0, 0)))
            rows.append(np.asarray(self._apply(self._params, padded))[: len(chunk)])
        return np.concatenate(rows)
