"""Networks that read key points or depth off generated pictures, looked up by the data set that they were fitted to.

Those of the data set of figures ship with the package (`lisa_jax fit_estimators` fitted them to the real training
pictures). Any function of the same arguments and results can take their place.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from lisa_jax.evaluation.networks.estimators import DenseEstimator

ASSETS = Path(__file__).parents[1] / "assets"
# Task -> channels of the network's output: one heat map a key point; normalised inverse depth.
CHANNELS = {"pose": 18, "depth": 1}
# How far around the peak of a heat map its mean is taken, in pixels.
_REACH = 2
_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A network with its weights.

    Attributes:
      name: data set, size and task, as "figures_32_pose".
      sha256: of the file of weights, as hex digits: figures by different weights cannot be compared.
      image_size: height and width of the pictures that it was fitted to.
      estimate: compiled, float32 results of uint8 (_BATCH_SIZE, H, W, 3).
    """

    name: str
    sha256: str
    image_size: int
    estimate: Callable[[jax.Array], jax.Array] = dataclasses.field(repr=False, compare=False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """What the pictures show.

        Args:
          images: uint8 (n, H, W, 3).

        Returns:
          pose: float32 (n, 18, 3), see `read_points`; depth: float32 (n, H, W), inverse depth, near is large.

        Raises:
          ValueError: no pictures of the size that the network was fitted to.
        """
        size = (self.image_size, self.image_size, 3)
        if images.dtype != np.uint8 or images.shape[1:] != size:
            raise ValueError(
                f"Estimator {self.name} reads uint8 pictures of {size}, but was given {images.dtype} "
                f"{images.shape[1:]}: {how_to_fit(images.shape[1] if images.ndim == 4 else self.image_size)}"
            )
        found = []
        for start in range(0, len(images), _BATCH_SIZE):
            part = images[start : start + _BATCH_SIZE]
            padded = np.pad(part, ((0, _BATCH_SIZE - len(part)), (0, 0), (0, 0), (0, 0)))
            found.append(np.asarray(self.estimate(padded))[: len(part)])
        return np.concatenate(found)


def read_points(logits: jax.Array) -> jax.Array:
    """Key points of heat maps: float32 (n, points, 3) from logits (n, H, W, points).

    A point is at one of the pixels or, with logit 0, nowhere in sight; softmax makes these probabilities. x and y, in
    pixels with (0.5, 0.5) the centre of the first, are the mean over the probable pixels around the most probable one;
    confidence is the probability that the point is in sight.
    """
    n, height, width, points = logits.shape
    flat = logits.reshape(n, height * width, points)
    nowhere = jnp.zeros((n, 1, points), flat.dtype)
    chances = jax.nn.softmax(jnp.concatenate([flat, nowhere], axis=1), axis=1)[:, :-1]
    rows, columns = jnp.divmod(jnp.arange(height * width), width)
    peak = jnp.argmax(flat, axis=1)[:, None]
    near = (jnp.abs(rows[None, :, None] - peak // width) <= _REACH) & (
        jnp.abs(columns[None, :, None] - peak % width) <= _REACH
    )
    # From the logits, for where a point is hardly in sight its probabilities may all round to 0.
    weights = jax.nn.softmax(jnp.where(near, flat, -jnp.inf), axis=1)
    x = jnp.einsum("p,npk->nk", columns + 0.5, weights)
    y = jnp.einsum("p,npk->nk", rows + 0.5, weights)
    return jnp.stack([x, y, chances.sum(axis=1)], axis=-1)


def unit_range(images: jax.Array) -> jax.Array:
    """What the networks see: float32 in -1..1 of uint8 pictures."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def load_estimator(task: str, image_size: int, data: str = "figures", folder: str | Path | None = None) -> Estimator:
    """The estimator of a data set, each read once a process.

    Args:
      task: "pose" or "depth".
      image_size: of the square pictures.
      data: the data set that it was fitted to.
      folder: with `write_estimator`'s files; default: those that ship with the package.

    Raises:
      ValueError: none was fitted to such pictures, or the file is damaged.
    """
    folder = ASSETS / f"{data}_estimators" if folder is None else Path(folder)
    return _load(task, image_size, data, folder)


def write_estimator(task: str, params: dict, image_size: int, data: str, folder: str | Path) -> Path:
    """Write the parameters of a `DenseEstimator` to the folder in half precision, and return the file's path."""
    tensors = {key: np.asarray(leaf, np.float16) for key, leaf in _by_key(params).items()}
    path = Path(folder) / f"{task}_{image_size}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"about": json.dumps({"data": data, "image_size": image_size, "task": task}, sort_keys=True)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    return path


def how_to_fit(image_size: int) -> str:
    """What to do where there is no estimator."""
    return (
        f"fit one with `python -m lisa_jax fit_estimators --image_size={image_size} --out=DIR` and load it from there, "
        "or give an estimator of your own."
    )


@functools.cache
def _load(task: str, image_size: int, data: str, folder: Path) -> Estimator:
    if task not in CHANNELS:
        raise ValueError(f"No estimator for '{task}': there are {', '.join(CHANNELS)}.")
    path = folder / f"{task}_{image_size}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"No estimator of {task} for pictures of '{data}' at {image_size} px in {folder}: {how_to_fit(image_size)}"
        )
    content = path.read_bytes()
    network = DenseEstimator(CHANNELS[task])
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, image_size, image_size, 3)))
    try:
        tensors = safetensors.numpy.load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): fit it anew.") from error
    wanted = {key: leaf.shape for key, leaf in _by_key(shapes).items()}
    if {key: tensor.shape for key, tensor in tensors.items()} != wanted:
        raise ValueError(f"{path} holds other tensors than this version's network has: fit it anew.")
    params = jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(tensors[_key(path)], jnp.float32), shapes)

    @jax.jit
    def estimate(images: jax.Array) -> jax.Array:
        # Full precision on every device: the figures must not depend on where they were computed.
        with jax.default_matmul_precision("float32"):
            logits = network.apply(params, unit_range(images))
            return read_points(logits) if task == "pose" else logits[..., 0]

    return Estimator(f"{data}_{image_size}_{task}", hashlib.sha256(content).hexdigest(), image_size, estimate)


def _by_key(tree: dict) -> dict[str, jax.Array]:
    return {_key(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _key(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
