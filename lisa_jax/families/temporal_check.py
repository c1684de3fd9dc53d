"""Residuals of an exported ControlNet of videos in float32, ours and those of the PyTorch file that goes with it."""

import contextlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.temporal_controlnet import TEMPORAL_CONTROLNET
from lisa_jax.dual_branch import Params
from lisa_jax.families.export_check import Measured, check_export, require_diffusers
from lisa_jax.families.usage import TEMPLATES
from lisa_jax.models.temporal_controlnet import TemporalControlNet, TemporalControlNetConfig
from lisa_jax.models.temporal_encoder import beside_first_frame
from lisa_jax.parallel.compiling import Announced

# What is exported beside the weights, for diffusers has no such network.
TORCH_MODULE = TEMPLATES / "temporal_controlnet.py"
EXAMPLES = 2
# Frames a second less one, motion, noise on the first frame: of each of the examples.
TIME_IDS = ((6.0, 127.0, 0.02), (24.0, 30.0, 0.4))


def check_temporal_controlnet(
    folder: str | Path, params: Params, dtype: jnp.dtype, latent_shape: tuple[int, ...], *, verifies: bool
) -> Measured:
    """`check_export` of a folder that holds such a network, on random inputs for latents (f, h, w, c).

    Raises:
      ExportMismatchError: as `check_export`.
      ValueError: diffusers or PyTorch is not installed.
    """
    config = TEMPORAL_CONTROLNET.config(open_checkpoint(folder))
    inputs = probe_inputs(config, latent_shape)
    return check_export(
        folder,
        params,
        dtype,
        lambda given: our_residuals(config, given, inputs),
        (lambda: torch_residuals(folder, inputs)) if verifies else None,
    )


def probe_inputs(
    config: TemporalControlNetConfig, latent_shape: tuple[int, ...], seed: int = 0
) -> dict[str, np.ndarray]:
    """Random inputs of a side network for latents (f, h, w, c), float32: standard normal, the condition in [0, 1]."""
    rng = np.random.default_rng(seed)
    frames, height, width, channels = latent_shape
    factor = config.conditioning_downsampling

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((EXAMPLES, *shape), np.float32)

    condition = (EXAMPLES, frames, factor * height, factor * width, config.conditioning_channels)
    return {
        "x_t": normal(frames, height, width, channels),
        # 0.25 ln sigma, for sigma up to 55 and from 0.018.
        "t": rng.uniform(-1, 1, EXAMPLES).astype(np.float32),
        "image_embeds": normal(1, config.cross_attention_dim),
        "image_latents": normal(height, width, config.image_channels),
        "time_ids": np.resize(np.float32(TIME_IDS), (EXAMPLES, config.time_ids)),
        "condition": rng.random(condition, np.float32),
    }


def our_residuals(config: TemporalControlNetConfig, params: Params, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Residuals of `params`, float32 (n, f, h, w, c) each, computed in float32."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    context = {name: inputs[name] for name in ("image_embeds", "image_latents", "time_ids")}
    given = (inputs["x_t"], inputs["t"], context, inputs["condition"])
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    with jax.default_matmul_precision("highest"):
        apply = Announced(TemporalControlNet(config).apply, "the exported network", position=1)
        residuals, _ = apply({"params": params}, *given)
    return [np.asarray(residual) for residual in residuals]


def torch_residuals(folder: str | Path, inputs: dict[str, np.ndarray]) -> tuple[str, list[np.ndarray]]:
    """diffusers' version, and the residuals of `LisaJaxTemporalControlNet` in float32 on the CPU, (n, f, h, w, c).

    The code is this package's own, whatever file of that name the folder holds.

    Raises:
      ValueError: diffusers or PyTorch is not installed.
    """
    require_diffusers()
    import diffusers
    import torch

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar of one file
        # It saves memory with a package that nothing here needs, and would warn where that is not there.
        network = torch_module().LisaJaxTemporalControlNet.from_pretrained(str(folder), low_cpu_mem_usage=False)

    def video(array: jax.Array | np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array).transpose(0, 1, 4, 2, 3))

    sample = beside_first_frame(jnp.asarray(inputs["x_t"]), inputs)
    tensors = [torch.from_numpy(inputs[name]) for name in ("t", "image_embeds", "time_ids")]
    with torch.no_grad():
        residuals = network.float().eval()(video(sample), *tensors, video(inputs["condition"]))
    found = [residual.numpy().transpose(0, 2, 3, 1) for residual in residuals]
    return diffusers.__version__, [one.reshape(EXAMPLES, -1, *one.shape[1:]) for one in found]


def torch_module() -> ModuleType:
    """The PyTorch file as a module."""
    spec = importlib.util.spec_from_file_location(TORCH_MODULE.stem, TORCH_MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
