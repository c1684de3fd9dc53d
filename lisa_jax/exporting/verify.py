"""Residuals of an exported ControlNet in float32, ours and those of diffusers, on the same random inputs."""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.side_network import side_network_config
from lisa_jax.dual_branch import Params
from lisa_jax.models.controlnet import ControlNet
from lisa_jax.models.small_controlnet import SmallControlNetConfig

# Of the largest residual; float32 sums in another order differ by far less.
TOLERANCE = 1e-4
EXAMPLES = 2


class ExportMismatchError(ValueError):
    """diffusers computes something else from the exported folder than we do from the trained parameters."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of an exported folder, on random inputs in float32; None for what was not.

    Attributes:
      largest: the largest absolute residual.
      rounding: how far rounding the weights to the file's dtype moves a residual at most.
      difference: how far diffusers' residuals are from ours at most.
      diffusers_version: of the diffusers that ran it.
    """

    largest: float | None = None
    rounding: float | None = None
    difference: float | None = None
    diffusers_version: str | None = None


@dataclasses.dataclass(frozen=True)
class ProbeInputs:
    """Random inputs of a side network, float32.

    Attributes:
      x_t: (n, h, w, c) standard normal.
      t: (n,) whole numbers from 0 to the last training step.
      context: (n, length, width) standard normal.
      condition: (n, H, W, 3), uniform in [0, 1].
    """

    x_t: np.ndarray
    t: np.ndarray
    context: np.ndarray
    condition: np.ndarray


def probe_inputs(
    latent_shape: tuple[int, int, int],
    context_shape: tuple[int, int],
    image_shape: tuple[int, int],
    num_train_timesteps: int,
    seed: int = 0,
) -> ProbeInputs:
    """Random inputs for latents (h, w, c), a context (length, width) and images (H, W)."""
    rng = np.random.default_rng(seed)
    return ProbeInputs(
        x_t=rng.standard_normal((EXAMPLES, *latent_shape), np.float32),
        t=rng.integers(num_train_timesteps, size=EXAMPLES).astype(np.float32),
        context=rng.standard_normal((EXAMPLES, *context_shape), np.float32),
        condition=rng.random((EXAMPLES, *image_shape, 3), np.float32),
    )


def our_residuals(folder: str | Path, params: Params, inputs: ProbeInputs) -> list[np.ndarray]:
    """Residuals of `params` under the config of an exported folder, float32 (n, h, w, c) each, computed in float32.

    Raises:
      CheckpointError: the folder is no side network that we have.
    """
    network = ControlNet(side_network_config(folder))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    # Accelerators multiply float32 matrices in fewer bits unless told not to.
    with jax.default_matmul_precision("highest"):
        residuals, _ = jax.jit(network.apply)(
            {"params": params}, inputs.x_t, inputs.t, inputs.context, inputs.condition
        )
    return [np.asarray(residual) for residual in residuals]


def require_diffusers() -> None:
    """Raises ValueError where diffusers or PyTorch is not installed."""
    missing = [name for name in ("diffusers", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--verify runs the export in diffusers, but {' and '.join(missing)} cannot be imported: install diffusers "
            "and torch, or export without --verify."
        )


def is_smaller(folder: str | Path) -> bool:
    """Whether an exported folder holds one of our smaller side networks, which diffusers does not have."""
    return isinstance(side_network_config(folder), SmallControlNetConfig)


def diffusers_residuals(folder: str | Path, inputs: ProbeInputs) -> tuple[str, list[np.ndarray]]:
    """diffusers' version, and the residuals of `ControlNetModel.from_pretrained(folder)` in float32 on the CPU, NHWC.

    Raises:
      ValueError: diffusers or PyTorch is not installed, or the network is smaller than those that diffusers has.
    """
    require_diffusers()
    if is_smaller(folder):
        raise ValueError(
            f"{folder} is smaller than a ControlNet, which diffusers cannot load: export without --verify."
        )
    import diffusers
    import torch

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bar of one file
        network = diffusers.ControlNetModel.from_pretrained(str(folder)).float().eval()
    x_t, condition = (
        torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2))) for array in (inputs.x_t, inputs.condition)
    )
    with torch.no_grad():
        down, mid = network(
            x_t, torch.from_numpy(inputs.t), torch.from_numpy(inputs.context), condition, return_dict=False
        )
    return diffusers.__version__, [residual.numpy().transpose(0, 2, 3, 1) for residual in (*down, mid)]


def measure(folder: str | Path, params: Params, inputs: ProbeInputs, dtype: jnp.dtype, *, verifies: bool) -> Measured:
    """Measure an exported folder against the parameters that it was written from.

    Args:
      folder: the exported ControlNet.
      params: the side network's parameters as they were trained.
      inputs: what all forward passes read.
      dtype: of the weights in the folder's file.
      verifies: run the folder in diffusers.

    Raises:
      ExportMismatchError: diffusers' residuals differ by more than TOLERANCE of the largest one, or all are zero.
      ValueError: diffusers or PyTorch is not installed.
    """
    rounds = dtype != jnp.float32
    if not rounds and not verifies:
        return Measured()
    exact = our_residuals(folder, params, inputs)
    ours = our_residuals(folder, round_params(params, dtype), inputs) if rounds else exact
    largest = max(float(np.abs(residual).max()) for residual in exact)
    rounding = largest_difference(exact, ours) if rounds else None
    if not verifies:
        return Measured(largest, rounding)
    if largest == 0:
        raise ExportMismatchError(
            f"{folder}: every residual is zero, so there is nothing to verify: this side network has not been trained."
        )
    version, theirs = diffusers_residuals(folder, inputs)
    difference = largest_difference(ours, theirs)
    # Written so that a difference that is not a number fails too.
    if not difference <= TOLERANCE * largest:
        raise ExportMismatchError(
            f"{folder}: diffusers' residuals differ from ours by up to {difference:.2e}, but "
            f"{TOLERANCE * largest:.2e} is allowed ({TOLERANCE:g} of the largest residual, {largest:.3g})."
        )
    return Measured(largest, rounding, difference, version)


def largest_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Largest absolute difference of two lists of arrays; raises ExportMismatchError where their shapes differ."""
    shapes = [[array.shape for array in arrays] for arrays in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ExportMismatchError(f"Our residuals have shapes {shapes[0]}, those of diffusers {shapes[1]}.")
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def round_params(params: Params, dtype: jnp.dtype) -> Params:
    """The parameters as a file of `dtype` holds them, numpy arrays; raises ValueError, by name, for what overflows."""

    def rounded(path: tuple[Any, ...], leaf: jax.Array) -> np.ndarray:
        exact = np.asarray(leaf)
        largest = float(np.abs(exact).max())
        if largest > float(jnp.finfo(dtype).max):
            raise ValueError(
                f"{jax.tree_util.keystr(path, simple=True, separator='/')} holds {largest:g}, which {dtype} cannot: "
                "export in float32."
            )
        return exact.astype(dtype)

    return jax.tree_util.tree_map_with_path(rounded, params)
