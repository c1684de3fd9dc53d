"""Networks that read key points or depth off generated pictures, looked up by the data set that they were fitted to.

Those of the data set of figures ship with the package (`lisa_jax fit_estimators` fitted them to the real training
pictures). Any function of the same arguments and results can take their place.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from lisa_jax.evaluation.measures.table import MEASURES, read_tasks
from lisa_jax.evaluation.networks.estimators import DenseEstimator
from lisa_jax.files.whole_file import write_whole
from lisa_jax.parallel.compiling import Announced

ASSETS = Path(__file__).parents[1] / "assets"
_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A network with its weights.

    Attributes:
      name: data set, size and task, as "figures_32_pose".
      sha256: of the file of weights, as hex digits: numbers by different weights cannot be compared.
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
          What `Reading.read` of the task gives, as pose float32 (n, 18, 3), or depth float32 (n, H, W), inverse depth,
          near is large.

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


def unit_range(images: jax.Array) -> jax.Array:
    """What the networks see: float32 in -1..1 of uint8 pictures."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def load_estimator(task: str, image_size: int, data: str = "figures", folder: str | Path | None = None) -> Estimator:
    """The estimator of a data set, each read once a process.

    Args:
      task: one of `read_tasks`.
      image_size: of the square pictures.
      data: the data set that it was fitted to.
      folder: with `write_estimator`'s files; default: those that ship with the package.

    Raises:
      ValueError: none was fitted to such pictures, or the file is damaged.
    """
    folder = ASSETS / f"{data}_estimators" if folder is None else Path(folder)
    return _load(task, image_size, data, folder)


def estimators_of(tasks: Iterable[str], image_size: int) -> dict[str, Estimator]:
    """The shipped estimators that measuring these tasks takes, by task; none for tasks that need none."""
    return {task: load_estimator(task, image_size) for task in tasks if task in read_tasks()}


def write_estimator(task: str, params: dict, image_size: int, data: str, folder: str | Path) -> Path:
    """Write the parameters of a `DenseEstimator` to the folder in half precision, and return the file's path."""
    tensors = {key: np.asarray(leaf, np.float16) for key, leaf in _by_key(params).items()}
    path = Path(folder) / f"{task}_{image_size}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"about": json.dumps({"data": data, "image_size": image_size, "task": task}, sort_keys=True)}
    write_whole(path, lambda partial: partial.write_bytes(safetensors.numpy.save(tensors, metadata)))
    return path


def how_to_fit(image_size: int) -> str:
    """What to do where there is no estimator."""
    return (
        f"fit one with `python -m lisa_jax fit_estimators --image_size={image_size} --out=DIR` and load it from there, "
        "or give an estimator of your own."
    )


@functools.cache
def _load(task: str, image_size: int, data: str, folder: Path) -> Estimator:
    if task not in read_tasks():
        raise ValueError(f"No estimator for '{task}': there are {', '.join(read_tasks())}.")
    reading = MEASURES[task].reading
    path = folder / f"{task}_{image_size}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"No estimator of {task} for pictures of '{data}' at {image_size} px in {folder}: {how_to_fit(image_size)}"
        )
    content = path.read_bytes()
    network = DenseEstimator(reading.channels)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, image_size, image_size, 3)))
    try:
        tensors = safetensors.numpy.load(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): fit it anew.") from error
    wanted = {key: leaf.shape for key, leaf in _by_key(shapes).items()}
    if {key: tensor.shape for key, tensor in tensors.items()} != wanted:
        raise ValueError(f"{path} holds other tensors than this version's network has: fit it anew.")
    for key, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{path}: tensor {key} holds values that are not finite: fit it anew.")
    params = jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(tensors[_key(path)], jnp.float32), shapes)

    @functools.partial(Announced, what=f"the estimator of {task}", position=0)
    def estimate(images: jax.Array) -> jax.Array:
        # Full precision on every device: the results must not depend on where they were computed.
        with jax.default_matmul_precision("float32"):
            return reading.read(network.apply(params, unit_range(images)))

    return Estimator(f"{data}_{image_size}_{task}", hashlib.sha256(content).hexdigest(), image_size, estimate)


def _by_key(tree: dict) -> dict[str, jax.Array]:
    return {_key(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _key(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
