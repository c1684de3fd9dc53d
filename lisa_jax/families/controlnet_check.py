"""Residuals of an exported ControlNet in float32, ours and those of diffusers, on the same random inputs."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.side_network import stored_side_network
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.export_check import Measured, check_export, require_diffusers
from lisa_jax.models.controlnet import ControlNet
from lisa_jax.parallel.compiling import Announced

EXAMPLES = 2


@dataclasses.dataclass(frozen=True)
class ProbeInputs:
    """Random inputs of a side network, float32 where nothing else is said.

    Attributes:
      x_t: (n, h, w, c) standard normal.
      t: (n,) whole numbers from 0 to the last training step.
      context: a tree of (n, ...), standard normal; whole numbers, as of a picture's size, from 0 to 1023.
      condition: (n, H, W, channels), uniform in [0, 1].
    """

    x_t: np.ndarray
    t: np.ndarray
    context: Tree
    condition: np.ndarray


def probe_inputs(
    latent_shape: tuple[int, ...],
    context_shapes: Tree,
    condition_shape: tuple[int, int, int],
    num_train_timesteps: int,
    seed: int = 0,
) -> ProbeInputs:
    """Random inputs for latents (h, w, c), a context of shapes and dtypes, and a condition (H, W, channels)."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        shape = (EXAMPLES, *leaf.shape)
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return rng.integers(1024, size=shape).astype(leaf.dtype)
        return rng.standard_normal(shape, np.float32)

    return ProbeInputs(
        x_t=rng.standard_normal((EXAMPLES, *latent_shape), np.float32),
        t=rng.integers(num_train_timesteps, size=EXAMPLES).astype(np.float32),
        context=jax.tree.map(drawn, context_shapes),
        condition=rng.random((EXAMPLES, *condition_shape), np.float32),
    )


def check_controlnet(
    folder: str | Path, params: Params, dtype: jnp.dtype, inputs: ProbeInputs, *, verifies: bool
) -> Measured:
    """`check_export` of a folder that holds a ControlNet, or a smaller side network; `verifies` asks diffusers.

    Raises:
      ExportMismatchError: as `check_export`.
      ValueError: diffusers or PyTorch is not installed, or diffusers has no such network.
    """
    in_diffusers = stored_side_network(open_checkpoint(folder)) is CONTROLNET
    if verifies and not in_diffusers:
        raise ValueError(
            f"{folder} is smaller than a ControlNet, which diffusers cannot load: export without --verify."
        )
    return check_export(
        folder,
        params,
        dtype,
        lambda given: our_residuals(folder, given, inputs),
        (lambda: diffusers_residuals(folder, inputs)) if verifies else None,
        in_diffusers=in_diffusers,
    )


def our_residuals(folder: str | Path, params: Params, inputs: ProbeInputs) -> list[np.ndarray]:
    """Residuals of `params` under the config of an exported folder, float32 (n, h, w, c) each, computed in float32.

    Raises:
      CheckpointError: the folder is no side network that we have.
    """
    checkpoint = open_checkpoint(folder)
    network = ControlNet(stored_side_network(checkpoint).config(checkpoint))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    with jax.default_matmul_precision("highest"):
        residuals, _ = Announced(network.apply, "the exported network", position=1)(
            {"params": params}, inputs.x_t, inputs.t, inputs.context, inputs.condition
        )
    return [np.asarray(residual) for residual in residuals]


def diffusers_residuals(folder: str | Path, inputs: ProbeInputs) -> tuple[str, list[np.ndarray]]:
    """diffusers' version, and the residuals of `ControlNetModel.from_pretrained(folder)` in float32 on the CPU, NHWC.

    Raises:
      ValueError: diffusers or PyTorch is not installed.
    """
    require_diffusers()
    import diffusers
    import torch

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar of one file
        # It saves memory with a package that nothing here needs, and would warn where that is not there.
        network = diffusers.ControlNetModel.from_pretrained(str(folder), low_cpu_mem_usage=False).float().eval()
    x_t, condition = (
        torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2))) for array in (inputs.x_t, inputs.condition)
    )
    context = jax.tree.map(torch.from_numpy, inputs.context)
    # Of Stable Diffusion XL.
    tokens, added = context, None
    if isinstance(context, Mapping):
        tokens, added = context["tokens"], {"text_embeds": context["pooled"], "time_ids": context["time_ids"]}
    with torch.no_grad():
        down, mid = network(
            x_t, torch.from_numpy(inputs.t), tokens, condition, added_cond_kwargs=added, return_dict=False
        )
    return diffusers.__version__, [residual.numpy().transpose(0, 2, 3, 1) for residual in (*down, mid)]
