"""Whether an exported side network computes what the trained parameters do, whatever its family."""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import Params

# Of the largest residual; float32 sums in another order differ by far less.
TOLERANCE = 1e-4

Residuals = Sequence[np.ndarray]


class ExportMismatchError(ValueError):
    """diffusers computes something else from the exported folder than we do from the trained parameters."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of an exported folder, on random inputs in float32; None for what was not.

    Attributes:
      in_diffusers: whether diffusers has such networks.
      largest: the largest absolute residual.
      rounding: how far rounding the weights to the file's dtype moves a residual at most.
      difference: how far diffusers' residuals are from ours at most.
      diffusers_version: of the diffusers that ran it.
    """

    in_diffusers: bool = True
    largest: float | None = None
    rounding: float | None = None
    difference: float | None = None
    diffusers_version: str | None = None


def check_export(
    folder: str | Path,
    params: Params,
    dtype: jnp.dtype,
    ours: Callable[[Params], Residuals],
    theirs: Callable[[], tuple[str, Residuals]] | None,
    *,
    in_diffusers: bool = True,
) -> Measured:
    """Measure an exported folder against the parameters that it was written from.

    Args:
      folder: for messages.
      params: the side network's parameters as they were trained.
      dtype: of the weights in the folder's file.
      ours: parameters -> residuals on some inputs, float32.
      theirs: () -> diffusers' version and its residuals of the folder on the same inputs; None: it is not asked.
      in_diffusers: whether diffusers has such networks.

    Raises:
      ExportMismatchError: diffusers' residuals differ by more than TOLERANCE of the largest one, or all are zero.
    """
    rounds = dtype != jnp.float32
    if not rounds and theirs is None:
        return Measured(in_diffusers)
    exact = ours(params)
    rounded = ours(round_params(params, dtype)) if rounds else exact
    largest = max(float(np.abs(residual).max()) for residual in exact)
    measured = Measured(in_diffusers, largest, largest_difference(exact, rounded) if rounds else None)
    if theirs is None:
        return measured
    if largest == 0:
        raise ExportMismatchError(
            f"{folder}: every residual is zero, so there is nothing to verify: this side network has not been trained."
        )
    version, residuals = theirs()
    difference = largest_difference(rounded, residuals)
    # Written so that a difference that is not a number fails too.
    if not difference <= TOLERANCE * largest:
        raise ExportMismatchError(
            f"{folder}: diffusers' residuals differ from ours by up to {difference:.2e}, but "
            f"{TOLERANCE * largest:.2e} is allowed ({TOLERANCE:g} of the largest residual, {largest:.3g})."
        )
    return dataclasses.replace(measured, difference=difference, diffusers_version=version)


def largest_difference(ours: Residuals, theirs: Residuals) -> float:
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


def require_diffusers() -> None:
    """Raises ValueError where diffusers or PyTorch is not installed."""
    missing = [name for name in ("diffusers", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--verify runs the export in diffusers, but {' and '.join(missing)} cannot be imported: install diffusers "
            "and torch, or export without --verify."
        )
