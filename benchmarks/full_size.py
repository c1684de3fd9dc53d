"""Whole networks of full size against diffusers and transformers: differences, loading, memory, time.

    python benchmarks/full_size.py --base=bases/sd15 --preset=sd15
    python benchmarks/full_size.py --base=bases/sd21 --preset=sd21
    python benchmarks/full_size.py --base=bases/sd3_medium --preset=sd3_medium --latent_size=16
    python benchmarks/full_size.py --base=bases/sd35_medium --preset=sd35_medium --latent_size=16

Takes the Stable Diffusion folder `--base`; where there is none, one with random weights is written first (4.3 GB for
sd15, 5.2 GB for sd21, 12 and 13.5 GB for sd3_medium and sd35_medium; remove it afterwards). A ControlNet with random
weights, its zero convolutions too, is written beside it as `<base>_controlnet` (1.5 GB, of Stable Diffusion 3 4.5 and
6 GB). All runs on the CPU in float32, batch 1, 64 x 64 latents and 512 x 512 images unless --latent_size says
otherwise. Every network is loaded in a process of its own, so that 8 GB of memory will do, and 12 GB for Stable
Diffusion 3.

First table: largest difference of an output, absolute and in units of the output's standard deviation; that deviation;
seconds of a forward pass without compilation; peak memory of the process that loads, compiles and runs. Second table,
loading in bfloat16 onto the device: seconds (the files may be cached by the system), bytes of the tree, and by how much
the process's peak memory exceeds what it held before.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import multiprocessing
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from lisa_jax.checkpoints.checkpoint import Checkpoint, open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.presets import PRESETS, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.sd3_side_networks import copied_side_network
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig, controlnet_config_from_unet
from lisa_jax.models.sd3_controlnet import SD3ControlNet, SD3ControlNetConfig
from lisa_jax.models.sd3_transformer import SD3Transformer, SD3TransformerConfig
from lisa_jax.models.unet import UNet
from lisa_jax.models.vae import AutoencoderKL

_BASE = flags.DEFINE_string("base", None, "Stable Diffusion folder, made where there is none.")
_PRESET = flags.DEFINE_enum("preset", None, list(PRESETS), "What to make.")
_LATENT_SIZE = flags.DEFINE_integer("latent_size", 64, "Height and width of the latents.", lower_bound=8)
_PARTS = flags.DEFINE_list(
    "parts",
    ["text", "text 2", "unet", "transformer", "controlnet", "vae encoder", "vae decoder"],
    "What to compare, of what the base has.",
)

# Part -> its network's folder in the base.
FOLDERS = {
    "text": "text_encoder",
    "text 2": "text_encoder_2",
    "unet": "unet",
    "transformer": "transformer",
    "vae encoder": "vae",
    "vae decoder": "vae",
}
# Of the context of Stable Diffusion 3: 77 tokens of CLIP and 256 of T5.
TOKENS = 333
Inputs = tuple[np.ndarray, ...]


def component_folder(part: str, base: str) -> Path:
    """Folder of the network that a part belongs to."""
    return Path(f"{base}_controlnet") if part == "controlnet" else Path(base) / FOLDERS[part]


def has_transformer(base: str) -> bool:
    """Whether a base is a Stable Diffusion 3."""
    return (Path(base) / "transformer").is_dir()


def component_of(part: str, base: str) -> Component:
    """How the network that a part belongs to lies in its folder."""
    of_unets = {"text": CLIP_TEXT, "unet": UNET, "controlnet": CONTROLNET, "vae": VAE}
    of_transformers = {
        "text": CLIP_TEXT_WITH_PROJECTION,
        "transformer": SD3_TRANSFORMER,
        "controlnet": SD3_CONTROLNET,
        "vae": VAE,
    }
    return (of_transformers if has_transformer(base) else of_unets)[part.split()[0]]


def read_part(part: str, base: str, dtype: jnp.dtype, device: jax.sharding.Sharding) -> tuple[Any, dict]:
    """Config and parameters of the network that a part belongs to."""
    return component_of(part, base).read(open_checkpoint(component_folder(part, base)), "", dtype, device)


def example_inputs(part: str, base: str, size: int) -> Inputs:
    """Inputs of a part in our layout, NHWC."""
    rng, checkpoint = np.random.default_rng(0), open_checkpoint(base)
    if part.startswith("text"):
        tokenizer = FOLDERS[part].replace("text_encoder", "tokenizer")
        return (load_tokenizer(checkpoint, tokenizer)(["a photo of an astronaut riding a horse"]),)
    vae = VAE.config(checkpoint, "vae")
    image = rng.uniform(0, 1, (1, size * vae.downsampling, size * vae.downsampling, 3)).astype(np.float32)
    latents = rng.standard_normal((1, size, size, vae.latent_channels), np.float32)
    if part == "vae encoder":
        return (2 * image - 1,)
    if part == "vae decoder":
        return (latents,)
    t = np.asarray([501.0], np.float32)
    if has_transformer(base):
        main = SD3_TRANSFORMER.config(checkpoint, "transformer")
        shapes = ((1, TOKENS, main.joint_attention_dim), (1, main.pooled_projection_dim))
        inputs = (latents, t, *(rng.standard_normal(shape, np.float32) for shape in shapes))
        return (*inputs, rng.standard_normal(latents.shape, np.float32)) if part == "controlnet" else inputs
    length = CLIP_TEXT.config(checkpoint, "text_encoder").max_position_embeddings
    width = UNET.config(checkpoint, "unet").cross_attention_dim
    inputs = (latents, t, rng.standard_normal((1, length, width), np.float32))
    return (*inputs, image) if part == "controlnet" else inputs


def our_function(part: str, config: Any) -> Callable[..., tuple[jax.Array, ...]]:
    """(params, *inputs) -> outputs of a part."""
    if isinstance(config, SD3TransformerConfig | SD3ControlNetConfig):
        return sd3_function(config)
    if part.startswith("text"):
        return lambda params, ids: (
            CLIPTextModel(config).apply({"params": params.get("text_model", params)}, ids).last_hidden_state,
        )
    if part == "unet":
        return lambda params, *inputs: (UNet(config).apply({"params": params}, *inputs),)
    if part == "controlnet":
        return lambda params, *inputs: ControlNet(config).apply({"params": params}, *inputs)[0]
    method = {"vae encoder": "encode", "vae decoder": "decode"}[part]
    return lambda params, x: (AutoencoderKL(config).apply({"params": params}, x, method=method),)


def sd3_function(config: SD3TransformerConfig | SD3ControlNetConfig) -> Callable[..., tuple[jax.Array, ...]]:
    """(params, latents, t, tokens, pooled, perhaps condition) -> outputs, those of the side network as tokens."""

    def transformer(params: Any, x: jax.Array, t: jax.Array, tokens: jax.Array, pooled: jax.Array) -> tuple:
        return (SD3Transformer(config).apply({"params": params}, x, t, {"tokens": tokens, "pooled": pooled}),)

    def side(params: Any, x: jax.Array, t: jax.Array, tokens: jax.Array, pooled: jax.Array, c: jax.Array) -> tuple:
        text = {"tokens": tokens, "pooled": pooled}
        residuals, _ = SD3ControlNet(config).apply({"params": params}, None, x, t, text, c)
        return tuple(residual.reshape(1, -1, config.width) for residual in residuals)

    return transformer if isinstance(config, SD3TransformerConfig) else side


def run_ours(part: str, base: str, inputs: Inputs) -> tuple[list[np.ndarray], float, int]:
    """Outputs and seconds of a forward pass, and the peak memory of loading, compiling and running."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    config, params = read_part(part, base, jnp.float32, device)
    compiled = jax.jit(our_function(part, config)).lower(params, *inputs).compile()
    start = time.perf_counter()
    outputs = jax.block_until_ready(compiled(params, *inputs))
    seconds = time.perf_counter() - start
    return [np.asarray(output) for output in outputs], seconds, _memory("VmHWM")


def diffusers_network(part: str, base: str) -> Any:
    """The network of diffusers or transformers that a part belongs to."""
    import diffusers
    import transformers

    if has_transformer(base):
        classes = {
            "text": transformers.CLIPTextModelWithProjection,
            "transformer": diffusers.SD3Transformer2DModel,
            "controlnet": diffusers.SD3ControlNetModel,
            "vae": diffusers.AutoencoderKL,
        }
    else:
        classes = {
            "text": transformers.CLIPTextModel,
            "unet": diffusers.UNet2DConditionModel,
            "controlnet": diffusers.ControlNetModel,
            "vae": diffusers.AutoencoderKL,
        }
    network, folder = classes[part.split()[0]], component_folder(part, base)
    if part not in ("transformer", "controlnet") or not has_transformer(base):
        return network.from_pretrained(folder, local_files_only=True).eval()
    # Without weights of its own first, which would take as much memory again.
    import torch
    from safetensors.torch import load_file

    with torch.device("meta"):
        model = network.from_config(network.load_config(folder))
    (path,) = folder.glob("*.safetensors")
    model.load_state_dict(load_file(path), assign=True)
    return model.eval()


def run_theirs(part: str, base: str, inputs: Inputs) -> tuple[list[np.ndarray], float, int]:
    """The same with diffusers or transformers, outputs in our layout."""
    import torch

    model = diffusers_network(part, base)

    def side_of_transformer(x: Any, t: Any, tokens: Any, pooled: Any, c: Any) -> tuple:
        return model(x, c, 1.0, tokens, pooled, t, return_dict=False)[0]

    def side_of_unet(*inputs: Any) -> tuple:
        down, mid = model(*inputs, return_dict=False)
        return (*down, mid)

    call = {
        "text": lambda ids: (model(ids.long()).last_hidden_state,),
        "unet": lambda *inputs: (model(*inputs).sample,),
        "transformer": lambda x, t, tokens, pooled: (model(x, tokens, pooled, t).sample,),
        "controlnet": side_of_transformer if has_transformer(base) else side_of_unet,
        "vae encoder": lambda x: (model.encode(x).latent_dist.parameters,),
        "vae decoder": lambda z: (model.decode(z).sample,),
    }[part.removesuffix(" 2")]
    tensors = [torch.from_numpy(x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x) for x in inputs]
    start = time.perf_counter()
    with torch.no_grad():
        outputs = call(*tensors)
    seconds = time.perf_counter() - start
    return (
        [(x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous().numpy() for x in outputs],
        seconds,
        _memory("VmHWM"),
    )


def measure_loading(part: str, base: str) -> tuple[float, int, int]:
    """Seconds, bytes of the tree, and growth of the peak memory when loading in bfloat16 (Linux)."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    jax.device_put(np.zeros(1), device).block_until_ready()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.perf_counter()
    _, params = read_part(part, base, jnp.bfloat16, device)
    seconds = time.perf_counter() - start
    return seconds, sum(leaf.nbytes for leaf in jax.tree.leaves(params)), _memory("VmHWM") - before


def _memory(field: str) -> int:
    kilobytes = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    return 1024 * int(kilobytes)


def prepare(base: str, preset_name: str | None) -> None:
    """Write what is missing."""
    if not Path(base).exists():
        if preset_name is None:
            raise app.UsageError(f"{base} is missing: give --preset to have it made.")
        start = time.perf_counter()
        write_random_base(preset_name, base)
        print(f"wrote {base}: {time.perf_counter() - start:.0f} s, peak memory {_memory('VmHWM') / 1e9:.2f} GB")
    side = component_folder("controlnet", base)
    if not side.exists():
        config, component = side_config(open_checkpoint(base)), component_of("controlnet", base)
        component.write(side, config, random_tree(component.key_table(config), seed=0))


def side_config(base: Checkpoint) -> ControlNetConfig | SD3ControlNetConfig:
    """Of the ControlNet beside a base."""
    if base.has("transformer"):
        return copied_side_network(None, SD3_TRANSFORMER.config(base, "transformer"), None).config
    return controlnet_config_from_unet(UNET.config(base, "unet"))


def main(_) -> None:
    base, parts = _BASE.value, _PARTS.value
    # A new process for every call: what a network held is gone before the next one comes.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as apart:

        def call(function: Callable, *args: Any) -> Any:
            return apart.submit(function, *args).result()

        call(prepare, base, _PRESET.value)
        parts = [part for part in parts if component_folder(part, base).is_dir()]
        columns = ("max diff", "/ std", "std", "ours s", "theirs s", "ours GB", "theirs GB")
        print(f"{'':<12}" + "".join(f"{name:>10}" for name in columns))
        for part in parts:
            inputs = call(example_inputs, part, base, _LATENT_SIZE.value)
            theirs, their_seconds, their_peak = call(run_theirs, part, base, inputs)
            ours, our_seconds, our_peak = call(run_ours, part, base, inputs)
            gaps = [float(np.abs(x - y).max()) for x, y in zip(ours, theirs, strict=True)]
            relative = max(gap / float(y.std()) for gap, y in zip(gaps, theirs, strict=True))
            std = float(np.std(np.concatenate([y.ravel() for y in theirs])))
            row = f"{part:<12}{max(gaps):>10.1e}{relative:>10.1e}{std:>10.2f}{our_seconds:>10.1f}{their_seconds:>10.1f}"
            print(f"{row}{our_peak / 1e9:>10.1f}{their_peak / 1e9:>10.1f}", flush=True)
        print(f"\n{'loading':<12}{'s':>6}{'tree GB':>9}{'peak GB':>9}")
        for part in {component_folder(part, base): part for part in parts}.values():
            seconds, size, peak = call(measure_loading, part, base)
            print(f"{part:<12}{seconds:>6.1f}{size / 1e9:>9.2f}{peak / 1e9:>9.2f}", flush=True)


if __name__ == "__main__":
    flags.mark_flags_as_required(["base"])
    app.run(main)
