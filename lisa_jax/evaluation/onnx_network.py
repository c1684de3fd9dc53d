"""Run an ONNX network on pictures, one at a time, with onnxruntime."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclasses.dataclass(frozen=True)
class NetworkInput:
    """What a network takes: the pixel values x from 0 to 1 of a resized picture as (x - mean) / std."""

    size: tuple[int, int]
    """Height and width in pixels. The whole picture is resized to it; its proportions are not kept."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str
    """"rgb" or "bgr"; `mean` and `std` are in the same order."""
    layout: str
    """"nchw" or "nhwc"; of the outputs too."""


def prepare(image: np.ndarray, takes: NetworkInput) -> np.ndarray:
    """One picture uint8 (H, W, 3) as the network takes it: float32 (1, 3, h, w) or (1, h, w, 3).

    Resized by Pillow's bicubic filter.
    """
    height, width = takes.size
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    ordered = resized if takes.channels == "rgb" else resized[..., ::-1]
    pixels = ((ordered / np.float32(255) - np.float32(takes.mean)) / np.float32(takes.std))[None]
    return np.ascontiguousarray(pixels if takes.layout == "nhwc" else pixels.transpose(0, 3, 1, 2))


def open_onnx(
    path: str | Path, takes: NetworkInput, output_names: Sequence[str] | None = None
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Open a network: a function from one picture, uint8 (H, W, 3), to its outputs, float32 or integers (1, ...).

    Args:
      path: an ONNX file with its weights inside.
      takes: the input.
      output_names: outputs to compute, in this order; None: all, in the file's order.

    Raises:
      ImportError: onnxruntime is not installed.
      ValueError: the file is not ONNX, needs further files, takes another input, or lacks an output.
    """
    try:
        import onnxruntime  # an optional dependency, and half a second
    except ImportError as error:
        raise ImportError(f"{path} needs onnxruntime: pip install 'lisa_jax[onnx]'.") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        # From its bytes: a graph that refers to weights in other files, which nobody hashed, is refused.
        session = onnxruntime.InferenceSession(Path(path).read_bytes(), options, providers=providers)
    except Exception as error:  # onnxruntime's own errors have no common class
        raise ValueError(f"{path} cannot be opened as one ONNX file with its weights inside: {error}") from error
    name, dtype = _check_input(session, takes, path)
    known = [output.name for output in session.get_outputs()]
    for wanted in output_names or ():
        if wanted not in known:
            raise ValueError(f"{path} has no output {wanted!r}: it has {', '.join(known)}.")

    def run(image: np.ndarray) -> list[np.ndarray]:
        outputs = session.run(output_names or None, {name: prepare(image, takes).astype(dtype)})
        return [output.astype(np.float32) if output.dtype.kind == "f" else output for output in outputs]

    return run


def _check_input(session: Any, takes: NetworkInput, path: str | Path) -> tuple[str, type]:
    """Name and dtype of the only input, which must take the picture."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ValueError(f"{path} takes {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), not one picture.")
    (taken,) = inputs
    if taken.type not in _DTYPES:
        raise ValueError(f"{path}: its input is {taken.type}, but only {' and '.join(_DTYPES)} are supported.")
    height, width = takes.size
    given = (1, 3, height, width) if takes.layout == "nchw" else (1, height, width, 3)
    # A side that may vary is a name or None.
    fits = len(taken.shape) == 4 and all(
        side == wanted for side, wanted in zip(taken.shape, given, strict=True) if isinstance(side, int)
    )
    if not fits:
        raise ValueError(f"{path} takes {tuple(taken.shape)}, but the manifest's size and layout give {given}.")
    return taken.name, _DTYPES[taken.type]
