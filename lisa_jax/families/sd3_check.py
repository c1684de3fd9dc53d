"""Residuals of an exported `SD3ControlNetModel` in float32, ours and those of diffusers, on the same random inputs."""

import contextlib
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.dual_branch import Params
from lisa_jax.families.export_check import Measured, check_export, require_diffusers
from lisa_jax.families.sd3_control import with_table
from lisa_jax.models.sd3_controlnet import SD3ControlNet, SD3ControlNetConfig
from lisa_jax.parallel.compiling import Announced

# Examples, and text tokens of each.
EXAMPLES, TOKENS = 2, 77


def check_sd3_controlnet(
    folder: str | Path,
    params: Params,
    table: Params,
    dtype: jnp.dtype,
    latent_shape: tuple[int, ...],
    *,
    verifies: bool,
) -> Measured:
    """`check_export` of a folder that holds such a network, on random inputs for latents (h, w, c).

    `table` has the transformer's positions, see `sd3_side_networks.position_table`.

    Raises:
      ExportMismatchError: as `check_export`.
      ValueError: diffusers or PyTorch is not installed.
    """
    config = SD3_CONTROLNET.config(open_checkpoint(folder))
    inputs = probe_inputs(config, latent_shape)
    return check_export(
        folder,
        with_table(config, params, table),
        dtype,
        lambda given: our_residuals(config, given, inputs),
        (lambda: diffusers_residuals(folder, config, inputs)) if verifies else None,
    )


def probe_inputs(config: SD3ControlNetConfig, latent_shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs of a side network for latents (h, w, c), float32: standard normal, times within 0 to 1000."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((EXAMPLES, *shape), np.float32)

    height, width, _ = latent_shape
    return {
        "embedded": normal(height // config.patch_size, width // config.patch_size, config.width),
        "x_t": normal(*latent_shape),
        "t": rng.uniform(0, 1000, EXAMPLES).astype(np.float32),
        "tokens": normal(TOKENS, config.joint_attention_dim or 1),
        "pooled": normal(config.pooled_projection_dim),
        "condition": normal(height, width, config.condition_channels),
    }


def our_residuals(config: SD3ControlNetConfig, params: Params, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Residuals of `params`, float32 (n, h / patch, w / patch, d) each, computed in float32."""
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    context = {"tokens": inputs["tokens"], "pooled": inputs["pooled"]}
    given = (inputs["embedded"], inputs["x_t"], inputs["t"], context, inputs["condition"])
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    with jax.default_matmul_precision("highest"):
        apply = Announced(SD3ControlNet(config).apply, "the exported network", position=1)
        residuals, _ = apply({"params": params}, *given)
    return [np.asarray(residual) for residual in residuals]


def diffusers_residuals(
    folder: str | Path, config: SD3ControlNetConfig, inputs: dict[str, np.ndarray]
) -> tuple[str, list[np.ndarray]]:
    """diffusers' version, and the residuals of `SD3ControlNetModel.from_pretrained(folder)` in float32 on the CPU.

    Raises:
      ValueError: diffusers or PyTorch is not installed.
    """
    require_diffusers()
    import diffusers
    import torch

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar of one file
        # It saves memory with a package that nothing here needs, and would warn where that is not there.
        network = diffusers.SD3ControlNetModel.from_pretrained(str(folder), low_cpu_mem_usage=False).float().eval()
    grid = inputs["embedded"].shape

    def picture(name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(inputs[name].transpose(0, 3, 1, 2)))

    tensors = {name: torch.from_numpy(inputs[name]) for name in ("embedded", "tokens", "pooled", "t")}
    with torch.no_grad():
        (residuals,) = network(
            # Without a table of its own, the network begins with what the transformer has embedded.
            picture("x_t") if config.use_pos_embed else tensors["embedded"].flatten(1, 2),
            picture("condition"),
            encoder_hidden_states=None if config.joint_attention_dim is None else tensors["tokens"],
            pooled_projections=tensors["pooled"],
            timestep=tensors["t"],
            return_dict=False,
        )
    return diffusers.__version__, [residual.numpy().reshape(grid) for residual in residuals]
