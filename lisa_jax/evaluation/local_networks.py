"""Networks for metrics from files of the user's own: a folder with a `manifest.json`, checked by hash before use.

The networks that papers measure with (MiDaS, Mask2Former, OpenPose, CLIP, Inception, AlexNet) come in no package. A
user puts their files into one folder and says what they are:

    {
      "depth": {
        "file": "dpt_large_384.onnx", "sha256": "...", "format": "onnx",
        "size": [384, 384], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        "channels": "rgb", "layout": "nchw", "output": "inverse_depth"
      },
      "clip": {"file": "clip-vit-base-patch32", "sha256": "...", "format": "folder"},
      "alexnet": {"file": "alexnet-owt-7be5be79.pth", "sha256": "...", "format": "torch"}
    }

A file may also be one of the Hugging Face hub, "owner/name/FILE[@revision]", a folder "owner/name[@revision]"; the
manifest itself may lie in such a repository. Each has to have its hash.
Nothing in these files is executed: ONNX is a graph of known operators, PyTorch files are read as tensors only.
"""

import dataclasses
import re
import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lisa_jax.evaluation.network_outputs import OUTPUTS
from lisa_jax.evaluation.network_place import Place, Surroundings, surroundings
from lisa_jax.evaluation.onnx_network import NetworkInput, open_onnx
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.sha256 import sha256_of

MANIFEST = "manifest.json"
# What a file is for -> the format that it must have.
FORMATS = dict.fromkeys(OUTPUTS, "onnx") | {
    "inception": "torch",
    "i3d": "torch",
    "alexnet": "torch",
    "lpips": "torch",
    "clip": "folder",
}
_COMMON = ("file", "sha256", "format")
_ONNX = ("size", "mean", "std", "channels", "layout", "output")
_OPTIONAL = ("output_names",)
# A folder is told apart by its weights: their hash is also what model pages publish.
_FOLDER_WEIGHTS = "model.safetensors"


class ManifestError(ValueError):
    """A manifest that is missing, incomplete or does not describe the files beside it."""


@dataclasses.dataclass(frozen=True)
class LocalFile:
    """One entry of the manifest."""

    role: str
    place: Place
    sha256: str
    settings: Mapping[str, Any]
    """The fields of an ONNX entry beyond file, sha256 and format."""

    @property
    def path(self) -> Path:
        """Of the file or folder, once it is fetched."""
        return self.place.path

    @property
    def identity(self) -> dict[str, str]:
        """What a result must carry: numbers of different networks do not compare."""
        return {"file": self.place.name, "sha256": self.sha256}


@dataclasses.dataclass(frozen=True)
class LocalNetwork:
    """An ONNX network that looks at pictures."""

    file: LocalFile
    run: Callable[[np.ndarray], list[np.ndarray]]
    decode: Callable[[list[np.ndarray], NetworkInput, tuple[int, int]], np.ndarray]
    takes: NetworkInput

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """What the network sees in each picture; uint8 (n, H, W, 3) -> n arrays, by role:

        - depth: float32 (H, W), inverse depth, large where near, scale and shift unknown;
        - segmentation: uint8 (H, W), the 150 classes of ADE20K from 0 (wall) to 149 (flag);
        - pose: float32 (people, 18, 3), x and y in pixels (the centre of the top-left one at (0.5, 0.5)) and
          confidence, OpenPose's key points; any number of people; a point that was not found is (0, 0, 0).

        Raises:
          ValueError: pictures that are not uint8 (n, H, W, 3), or outputs that are not what the manifest says.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"pictures must be uint8 (n, H, W, 3), but are {images.dtype} {images.shape}.")
        try:
            return [self.decode(_finite(self.run(image)), self.takes, images.shape[1:3]) for image in images]
        except ValueError as error:
            raise ValueError(f"{self.file.path.name} as {self.file.role!r}: {error}") from error


def _finite(outputs: list[np.ndarray]) -> list[np.ndarray]:
    if not all(np.isfinite(output).all() for output in outputs):
        raise ValueError("its outputs are not finite: fetch the file again, and its sha256 from where it is published.")
    return outputs


def read_manifest(folder: str | Path) -> dict[str, LocalFile]:
    """Read `manifest.json`; role -> entry. Files are neither fetched, opened nor hashed.

    Args:
      folder: that of the manifest, or a repository of the hub, `owner/name[@revision]`.

    Raises:
      ManifestError: no manifest, not JSON, or an entry with a role, field or value that is unknown or missing, by name.
      HubError: see `files.hub.download`.
    """
    around = surroundings(folder, MANIFEST)
    path = around.folder / MANIFEST
    if not path.is_file():
        raise ManifestError(f"{path} is missing: it must say which file is which network, with their sha256.")
    try:
        entries = read_object(path)
    except JsonError as error:
        raise ManifestError(f"{error}: it must say which file is which network.") from error
    for role, entry in entries.items():
        if not isinstance(entry, dict):
            raise ManifestError(f"{path}: entry {role!r} is {reprlib.repr(entry)}, not an object: file, sha256, ...")
    return {role: _entry(around, role, entry) for role, entry in entries.items()}


def local_file(folder: str | Path, role: str) -> LocalFile:
    """The entry of a role, its file found, in the hub's cache where it is a name of the hub, and its hash checked.

    Raises:
      ManifestError: no such entry, no such file, or a file with another hash.
      CheckpointError, HubError: see `Place.fetched`.
    """
    entries = read_manifest(folder)
    if role not in entries:
        raise ManifestError(
            f"{Path(folder) / MANIFEST} has no entry {role!r}: add one with {', '.join(_fields(role))}; it has "
            f"{', '.join(entries) or 'none'}."
        )
    entry = entries[role]
    entry = dataclasses.replace(entry, place=entry.place.fetched())
    hashed = entry.path / _FOLDER_WEIGHTS if FORMATS[role] == "folder" else entry.path
    if not hashed.is_file():
        raise ManifestError(f"{hashed}, which {MANIFEST} names for {role!r}, is missing.")
    if (found := sha256_of(hashed)) != entry.sha256:
        raise ManifestError(
            f"{hashed} has the sha256 {found}, but {MANIFEST} says {entry.sha256} for {role!r}: it is another file, "
            "or not whole."
        )
    return entry


def load_network(folder: str | Path, role: str) -> LocalNetwork:
    """Load the network of an ONNX role, one of OUTPUTS.

    Raises:
      ManifestError: see `local_file`.
      ValueError: a file that is no ONNX network, or one that does not take what the manifest says.
      ImportError: onnxruntime is not installed.
    """
    entry = local_file(folder, role)
    takes = NetworkInput(
        **{name: _tuple(entry.settings[name]) for name in ("size", "mean", "std", "channels", "layout")}
    )
    run = open_onnx(entry.path, takes, entry.settings.get("output_names"))
    return LocalNetwork(entry, run, OUTPUTS[role][entry.settings["output"]], takes)


def _fields(role: str) -> tuple[str, ...]:
    return _COMMON + (_ONNX if FORMATS[role] == "onnx" else ())


def _entry(around: Surroundings, role: str, entry: Mapping[str, Any]) -> LocalFile:
    where = f"{around.folder / MANIFEST}: entry {role!r}"
    if role not in FORMATS:
        raise ManifestError(f"{where} is unknown: there are {', '.join(FORMATS)}.")
    allowed = _fields(role) + (_OPTIONAL if FORMATS[role] == "onnx" else ())
    for problem, names in (
        ("has no", [name for name in _fields(role) if name not in entry]),
        ("has the unknown field", [name for name in entry if name not in allowed]),
    ):
        if names:
            raise ManifestError(
                f"{where} {problem} {', '.join(map(repr, names))}: its fields are {', '.join(allowed)}."
            )
    if entry["format"] != FORMATS[role]:
        raise ManifestError(f"{where}: format {reprlib.repr(entry['format'])} is not supported, {FORMATS[role]!r} is.")
    if not isinstance(entry["file"], str) or not entry["file"]:
        raise ManifestError(f"{where}: file {reprlib.repr(entry['file'])} is not a name.")
    if not isinstance(entry["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
        raise ManifestError(f"{where}: sha256 {reprlib.repr(entry['sha256'])} is not 64 small hexadecimal digits.")
    if FORMATS[role] == "onnx":
        _check_onnx(where, role, entry)
    settings = {name: value for name, value in entry.items() if name not in _COMMON}
    place = around.place(entry["file"], is_folder=FORMATS[role] == "folder")
    return LocalFile(role, place, entry["sha256"], settings)


def _check_onnx(where: str, role: str, entry: Mapping[str, Any]) -> None:
    def refuse(name: str, wanted: str) -> None:
        raise ManifestError(f"{where}: {name} {reprlib.repr(entry[name])} is not supported: give {wanted}.")

    size = entry["size"]
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and 0 < side <= 8192 for side in size):
        refuse("size", "[height, width] in pixels, at most 8192")
    for name in ("mean", "std"):
        value = entry[name]
        if not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value)):
            refuse(name, "three numbers, for pixel values from 0 to 1")
    if 0 in entry["std"]:
        refuse("std", "three numbers other than 0")
    for name, choices in (("channels", ("rgb", "bgr")), ("layout", ("nchw", "nhwc")), ("output", tuple(OUTPUTS[role]))):
        if entry[name] not in choices:
            refuse(name, f"one of {', '.join(choices)}")
    names = entry.get("output_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        refuse("output_names", "a list of the names of the graph's outputs to use")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e6


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
