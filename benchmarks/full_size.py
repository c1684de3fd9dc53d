"""Whole networks of full size against diffusers and transformers: differences, loading, memory, time.

    python benchmarks/full_size.py --base=bases/sd15 --preset=sd15
    python benchmarks/full_size.py --base=bases/sd21 --preset=sd21

Takes the Stable Diffusion folder `--base`; where there is none, one with random weights is written first (4.3 GB for
sd15, 5.2 GB for sd21; remove it afterwards). A ControlNet with random weights, its zero convolutions too, is written
beside it as `<base>_controlnet` (1.5 GB). All runs on the CPU in float32, batch 1, 64 x 64 latents and 512 x 512 images
unless --latent_size says otherwise. Every network is loaded in a process of its own, so that 8 GB of memory will do.

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

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.presets import PRESETS, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.controlnet import ControlNet, controlnet_config_from_unet
from lisa_jax.models.unet import UNet
from lisa_jax.models.vae import AutoencoderKL

_BASE = flags.DEFINE_string("base", None, "Stable Diffusion folder, made where there is none.")
_PRESET = flags.DEFINE_enum("preset", None, list(PRESETS), "What to make.")
_LATENT_SIZE = flags.DEFINE_integer("latent_size", 64, "Height and width of the latents.", lower_bound=8)
_PARTS = flags.DEFINE_list("parts", ["text", "unet", "controlnet", "vae encoder", "vae decoder"], "What to compare.")

COMPONENTS = {"text": CLIP_TEXT, "unet": UNET, "controlnet": CONTROLNET, "vae": VAE}
FOLDERS = {"text": "text_encoder", "unet": "unet", "vae": "vae"}
Inputs = tuple[np.ndarray, ...]


def component_folder(part: str, base: str) -> Path:
    """Folder of the network that a part belongs to."""
    return Path(f"{base}_controlnet") if part == "controlnet" else Path(base) / FOLDERS[part.split()[0]]


def read_part(part: str, base: str, dtype: jnp.dtype, device: jax.sharding.Sharding) -> tuple[Any, dict]:
    """Config and parameters of the network that a part belongs to."""
    return COMPONENTS[part.split()[0]].read(open_checkpoint(component_folder(part, base)), "", dtype, device)


def example_inputs(part: str, base: str, size: int) -> Inputs:
    """Inputs of a part in our layout, NHWC."""
    rng, checkpoint = np.random.default_rng(0), open_checkpoint(base)
    if part == "text":
        return (load_tokenizer(checkpoint, "tokenizer")(["a photo of an astronaut riding a horse"]),)
    vae, unet = VAE.config(checkpoint, "vae"), UNET.config(checkpoint, "unet")
    image = rng.uniform(0, 1, (1, size * vae.downsampling, size * vae.downsampling, 3)).astype(np.float32)
    latents = rng.standard_normal((1, size, size, unet.in_channels), np.float32)
    if part == "vae encoder":
        return (2 * image - 1,)
    if part == "vae decoder":
        return (latents,)
    length = CLIP_TEXT.config(checkpoint, "text_encoder").max_position_embeddings
    context = rng.standard_normal((1, length, unet.cross_attention_dim), np.float32)
    inputs = (latents, np.asarray([501.0], np.float32), context)
    return (*inputs, image) if part == "controlnet" else inputs


def our_function(part: str, config: Any) -> Callable[..., tuple[jax.Array, ...]]:
    """(params, *inputs) -> outputs of a part."""
    if part == "text":
        return lambda params, ids: (CLIPTextModel(config).apply({"params": params}, ids).last_hidden_state,)
    if part == "unet":
        return lambda params, *inputs: (UNet(config).apply({"params": params}, *inputs),)
    if part == "controlnet":
        return lambda params, *inputs: ControlNet(config).apply({"params": params}, *inputs)[0]
    method = {"vae encoder": "encode", "vae decoder": "decode"}[part]
    return lambda params, x: (AutoencoderKL(config).apply({"params": params}, x, method=method),)


def run_ours(part: str, base: str, inputs: Inputs) -> tuple[list[np.ndarray], float, int]:
    """Outputs and seconds of a forward pass, and the peak memory of loading, compiling and running."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    config, params = read_part(part, base, jnp.float32, device)
    compiled = jax.jit(our_function(part, config)).lower(params, *inputs).compile()
    start = time.perf_counter()
    outputs = jax.block_until_ready(compiled(params, *inputs))
    seconds = time.perf_counter() - start
    return [np.asarray(output) for output in outputs], seconds, _memory("VmHWM")


def run_theirs(part: str, base: str, inputs: Inputs) -> tuple[list[np.ndarray], float, int]:
    """The same with diffusers or transformers, outputs in our layout."""
    import torch
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextModel

    network = {"text": CLIPTextModel, "unet": UNet2DConditionModel, "controlnet": ControlNetModel, "vae": AutoencoderKL}
    model = network[part.split()[0]].from_pretrained(component_folder(part, base), local_files_only=True).eval()
    call = {
        "text": lambda ids: (model(ids.long()).last_hidden_state,),
        "unet": lambda *inputs: (model(*inputs).sample,),
        "controlnet": lambda *inputs: (lambda out: (*out[0], out[1]))(model(*inputs, return_dict=False)),
        "vae encoder": lambda x: (model.encode(x).latent_dist.parameters,),
        "vae decoder": lambda z: (model.decode(z).sample,),
    }[part]
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
        config = controlnet_config_from_unet(UNET.config(open_checkpoint(base), "unet"))
        CONTROLNET.write(side, config, random_tree(CONTROLNET.key_table(config), seed=0))


def main(_) -> None:
    base, parts = _BASE.value, _PARTS.value
    # A new process for every call: what a network held is gone before the next one comes.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as apart:

        def call(function: Callable, *args: Any) -> Any:
            return apart.submit(function, *args).result()

        call(prepare, base, _PRESET.value)
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
        for part in dict.fromkeys(part.split()[0] for part in parts):
            seconds, size, peak = call(measure_loading, part, base)
            print(f"{part:<12}{seconds:>6.1f}{size / 1e9:>9.2f}{peak / 1e9:>9.2f}", flush=True)


if __name__ == "__main__":
    flags.mark_flags_as_required(["base"])
    app.run(main)
