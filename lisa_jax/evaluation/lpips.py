"""LPIPS (alex, version 0.1): how different do two pictures look?

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", arXiv 1801.03924. The squared
difference of unit-length AlexNet features, channels weighted by heads that were trained on human judgements, mean over
pixels, sum over five layers. Equal to the authors' package with its defaults (`LPIPS(net="alex")`), from two files:

- the backbone, torchvision's AlexNet (`alexnet-owt-7be5be79.pth`);
- the heads, `lpips/weights/v0.1/alex.pth` of the `lpips` package (6 KB).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.key_table import key_table
from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.evaluation.batches import in_batches
from lisa_jax.evaluation.networks.alexnet import CHANNELS, AlexNetFeatures, alexnet_shapes
from lisa_jax.evaluation.torch_file import read_torch_file
from lisa_jax.parallel.compiling import Announced

PROTOCOL = "LPIPS of AlexNet, version 0.1; mean over pictures"

# The mean and standard deviation of ImageNet for pictures in -1..1, as the authors rounded them.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class Lpips(NamedTuple):
    """Weights of the measure: AlexNet's parameter tree, and the heads, float32 (channels,) for each layer."""

    backbone: dict
    heads: tuple[jax.Array, ...]


def load_lpips(backbone_file: str | Path, heads_file: str | Path) -> Lpips:
    """Load the two PyTorch files; of the backbone only the convolutions are kept.

    Raises:
      ValueError: a tensor that is missing or has another shape, by file and name.
    """
    leaves: dict = {}
    tensors = read_torch_file(backbone_file)
    for key, entry in key_table(alexnet_shapes(), containers=("features",)).items():
        tensor = _tensor(tensors, key, entry.torch_shape, f"{backbone_file} is not torchvision's AlexNet")
        leaves[entry.path] = np.ascontiguousarray(entry.from_torch(tensor), np.float32)
    tensors = read_torch_file(heads_file)
    what = f"{heads_file} is not the heads of LPIPS for AlexNet"
    heads = (
        _tensor(tensors, f"lin{layer}.model.1.weight", (1, channels, 1, 1), what)
        for layer, channels in enumerate(CHANNELS)
    )
    return jax.device_put(Lpips(tree_of(leaves), tuple(np.asarray(head, np.float32).reshape(-1) for head in heads)))


def lpips(network: Lpips, images: np.ndarray, references: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Distance of each picture to its reference; 0 for equal ones, less is more alike.

    Args:
      images: uint8 (n, H, W, 3), sides of 31 px or more.
      references: likewise.
      batch_size: pairs at once.

    Returns:
      float64 (n,).
    Raises:
      ValueError: shapes that differ, pictures that are not uint8 or too small, or none at all.
    """
    if images.shape != references.shape:
        raise ValueError(f"images are {images.shape}, but references {references.shape}: sizes must agree.")
    for name, pictures in (("images", images), ("references", references)):
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3 or not len(pictures):
            raise ValueError(f"{name} must be uint8 (n, H, W, 3), but are {pictures.dtype} {pictures.shape}.")
    distances = in_batches(partial(_distance, network), images, references, size=batch_size)
    return distances.astype(np.float64)


@partial(Announced, what="LPIPS", position=1)
def _distance(network: Lpips, images: jax.Array, references: jax.Array) -> jax.Array:
    # In full float32 on every device, so that the measure does not depend on where it was computed.
    with jax.default_matmul_precision("float32"):
        first, second = (_features(network, pictures) for pictures in (images, references))
    layers = [
        jnp.mean(jnp.sum(jnp.square(a - b) * head, axis=-1), axis=(1, 2))
        for a, b, head in zip(first, second, network.heads, strict=True)
    ]
    return sum(layers)


def _features(network: Lpips, images: jax.Array) -> list[jax.Array]:
    pixels = (images.astype(jnp.float32) / 127.5 - 1 - jnp.array(_SHIFT)) / jnp.array(_SCALE)
    layers = AlexNetFeatures().apply({"params": network.backbone}, pixels)
    return [layer / (jnp.linalg.norm(layer, axis=-1, keepdims=True) + _EPSILON) for layer in layers]


def _tensor(tensors: Mapping[str, np.ndarray], key: str, shape: tuple[int, ...], what: str) -> np.ndarray:
    if key not in tensors:
        raise ValueError(f"{what}: it has no tensor {key}.")
    if tensors[key].shape != shape:
        raise ValueError(f"{what}: tensor {key} is {tensors[key].shape}, not {shape}.")
    return tensors[key]
