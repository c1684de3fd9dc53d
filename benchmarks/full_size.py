"""Whole networks of full size against diffusers and transformers: differences, loading, memory, time.

    python benchmarks/full_size.py --base=bases/sd15 --preset=sd15
    python benchmarks/full_size.py --base=bases/sd21 --preset=sd21
    python benchmarks/full_size.py --base=bases/sdxl --preset=sdxl --latent_size=16
    python benchmarks/full_size.py --base=bases/sd3_medium --preset=sd3_medium --latent_size=16
    python benchmarks/full_size.py --base=bases/sd35_medium --preset=sd35_medium --latent_size=16

Takes the Stable Diffusion folder `--base`; where there is none, one with random weights is written first (4.3 GB for
sd15, 5.2 GB for sd21, 14 GB for sdxl, 12 and 13.5 GB for sd3_medium and sd35_medium; remove it afterwards). A
ControlNet with random weights, its zero convolutions too, is written beside it as `<base>_controlnet` (1.5 GB, of
Stable Diffusion XL 5 GB, of 3 4.5 and 6 GB). All runs on the CPU in float32, batch 1, 64 x 64 latents and 512 x 512
images unless --latent_size says otherwise. Every network is loaded in a process of its own, so that 8 GB of memory will
do, 12 GB for Stable Diffusion 3 and 16 GB for XL.

First table: largest difference of an output, absolute and in units of the output's standard deviation; that deviation;
seconds of a forward pass without compilation; peak memory of the process that loads, compiles and runs. Second table,
loading in bfloat16 onto the device: seconds (the files may be cached by the system), bytes of the tree, and by how much
the process's peak memory exceeds what it held before.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import dataclasses
import multiprocessing
import re
import time
from collections.abc import Callable, Mapping, Sequence
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
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig, controlnet_config_from_unet
from lisa_jax.models.encoder import Context
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
# Of Stable Diffusion XL: height and width of the original, top and left of the crop, height and width of the picture.
TIME_NUMBERS = (1500, 2000, 0, 250, 1024, 1024)
# Of the context of Stable Diffusion 3: 77 tokens of CLIP and 256 of T5.
TOKENS = 333
Inputs = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is of one family of bases, by the first word of a part.

    Attributes:
      components: how its networks lie in their folders.
      theirs: their classes in diffusers or transformers.
    """

    components: Mapping[str, Component]
    theirs: Mapping[str, str]


_OF_UNET = {"unet": UNET, "controlnet": CONTROLNET, "vae": VAE}
_THEIRS_OF_UNET = {"unet": "UNet2DConditionModel", "controlnet": "ControlNetModel", "vae": "AutoencoderKL"}
STABLE_DIFFUSION = Kind(_OF_UNET | {"text": CLIP_TEXT}, _THEIRS_OF_UNET | {"text": "CLIPTextModel"})
STABLE_DIFFUSION_XL = Kind(
    _OF_UNET | {"text": CLIP_TEXT, "text 2": CLIP_TEXT_WITH_PROJECTION},
    _THEIRS_OF_UNET | {"text": "CLIPTextModel", "text 2": "CLIPTextModelWithProjection"},
)
STABLE_DIFFUSION_3 = Kind(
    {
        "text": CLIP_TEXT_WITH_PROJECTION,
        "text 2": CLIP_TEXT_WITH_PROJECTION,
        "transformer": SD3_TRANSFORMER,
        "controlnet": SD3_CONTROLNET,
        "vae": VAE,
    },
    {
        "text": "CLIPTextModelWithProjection",
        "text 2": "CLIPTextModelWithProjection",
        "transformer": "SD3Transformer2DModel",
        "controlnet": "SD3ControlNetModel",
        "vae": "AutoencoderKL",
    },
)


def kind_of(base: str) -> Kind:
    """The kind of a base, by its folders."""
    if (Path(base) / "transformer").is_dir():
        return STABLE_DIFFUSION_3
    return STABLE_DIFFUSION_XL if (Path(base) / "text_encoder_2").is_dir() else STABLE_DIFFUSION


def network_of(part: str) -> str:
    """The network that a part belongs to: both halves of a VAE are of one."""
    return "vae" if part.startswith("vae") else part


def component_folder(part: str, base: str) -> Path:
    """Folder of the network that a part belongs to."""
    return Path(f"{base}_controlnet") if part == "controlnet" else Path(base) / FOLDERS[part]


def read_part(part: str, base: str, dtype: jnp.dtype, device: jax.sharding.Sharding) -> tuple[Any, dict]:
    """Config and parameters of the network that a part belongs to."""
    return (
        kind_of(base)
        .components[network_of(part)]
        .read(open_checkpoint(component_folder(part, base)), "", dtype, device)
    )


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
    if kind_of(base) is STABLE_DIFFUSION_3:
        main = SD3_TRANSFORMER.config(checkpoint, "transformer")
        shapes = ((1, TOKENS, main.joint_attention_dim), (1, main.pooled_projection_dim))
        inputs = (latents, t, *(rng.standard_normal(shape, np.float32) for shape in shapes))
        return (*inputs, rng.standard_normal(latents.shape, np.float32)) if part == "controlnet" else inputs
    length, unet = 77, UNET.config(checkpoint, "unet")
    inputs = (latents, t, rng.standard_normal((1, length, unet.cross_attention_dim), np.float32))
    if unet.pooled_dim is not None:
        inputs += (rng.standard_normal((1, unet.pooled_dim), np.float32), np.array([TIME_NUMBERS], np.int32))
    return (*inputs, image) if part == "controlnet" else inputs


def our_function(part: str, config: Any) -> Callable[..., tuple[jax.Array, ...]]:
    """(params, *inputs) -> outputs of a part."""
    if isinstance(config, SD3TransformerConfig | SD3ControlNetConfig):
        return sd3_function(config)
    if part.startswith("text"):
        return text_function(config)
    if part == "unet":
        return lambda params, x, t, *text: (UNet(config).apply({"params": params}, x, t, context_of(text)),)
    if part == "controlnet":
        return lambda params, x, t, *rest: ControlNet(config).apply(
            {"params": params}, x, t, context_of(rest[:-1]), rest[-1]
        )[0]
    method = {"vae encoder": "encode", "vae decoder": "decode"}[part]
    return lambda params, x: (AutoencoderKL(config).apply({"params": params}, x, method=method),)


def text_function(config: CLIPTextConfig) -> Callable[..., tuple[jax.Array, ...]]:
    """(params, ids) -> last hidden state, that before the last layer, and the projected one where there is one."""

    def text(params: Any, ids: jax.Array) -> tuple[jax.Array, ...]:
        if "text_projection" in params:
            return tuple(CLIPTextModelWithProjection(config).apply({"params": params}, ids))
        found = CLIPTextModel(config).apply({"params": params}, ids)
        return found.last_hidden_state, found.penultimate

    return text


def context_of(arrays: Sequence[jax.Array]) -> Context:
    """The context of a UNet: text tokens, or with the pooled text and the time ids of Stable Diffusion XL."""
    return arrays[0] if len(arrays) == 1 else dict(zip(("tokens", "pooled", "time_ids"), arrays, strict=True))


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

    name, folder = kind_of(base).theirs[network_of(part)], component_folder(part, base)
    if not hasattr(diffusers, name):
        return getattr(transformers, name).from_pretrained(folder, local_files_only=True).eval()
    # Without weights of its own first, which would take as much memory again.
    import torch
    from safetensors.torch import load_file

    network = getattr(diffusers, name)
    with torch.device("meta"):
        model = network.from_config(network.load_config(folder))
    (path,) = folder.glob("*.safetensors")
    model.load_state_dict(load_file(path), assign=True)
    return model.eval()


def run_theirs(part: str, base: str, inputs: Inputs) -> tuple[list[np.ndarray], float, int]:
    """The same with diffusers or transformers, outputs in our layout."""
    import torch

    model = diffusers_network(part, base)

    def text(ids: Any) -> tuple:
        found = model(ids.long(), output_hidden_states=True)
        projected = (found.text_embeds,) if "text_embeds" in found else ()
        return (found.last_hidden_state, found.hidden_states[-2], *projected)

    def unet(x: Any, t: Any, tokens: Any, *added: Any) -> tuple:
        return (model(x, t, tokens, added_cond_kwargs=added_of(added)).sample,)

    def side_of_unet(x: Any, t: Any, tokens: Any, *rest: Any) -> tuple:
        *added, c = rest
        down, mid = model(x, t, tokens, c, added_cond_kwargs=added_of(added), return_dict=False)
        return (*down, mid)

    def side_of_transformer(x: Any, t: Any, tokens: Any, pooled: Any, c: Any) -> tuple:
        return model(x, c, 1.0, tokens, pooled, t, return_dict=False)[0]

    call = {
        "text": text,
        "unet": unet,
        "transformer": lambda x, t, tokens, pooled: (model(x, tokens, pooled, t).sample,),
        "controlnet": side_of_transformer if kind_of(base) is STABLE_DIFFUSION_3 else side_of_unet,
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


def added_of(arrays: Sequence[Any]) -> dict[str, Any] | None:
    """What diffusers takes beside the text tokens, where there is something."""
    return dict(zip(("text_embeds", "time_ids"), arrays, strict=True)) if arrays else None


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
        config, component = side_config(open_checkpoint(base)), kind_of(base).components["controlnet"]
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
