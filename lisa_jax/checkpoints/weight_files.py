"""Files of weights: which of a component's are read, and the tensors that their headers name.

Only safetensors are read, nothing that executes.
"""

import dataclasses
import functools
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.recognise import what_else
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.regular_file import IrregularFileError, check_regular

_LOG = logging.getLogger("lisa_jax")
# Names of weight files without ending, as the two libraries call them.
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS_WEIGHTS = "model"
# The same weights in another precision, as their file names say; of several the first is read.
PRECISIONS = ("", ".fp16", ".bf16", ".fp32")
# A UNet's header has 80 KB; the library itself would take 100 MB.
_LONGEST_HEADER = 2**24


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file, read when it is asked for.

    Attributes:
      path: the file.
      name: key of the tensor in it.
      shape: of what is read.
      dtype: in the format's words: "F32", "BF16", ...
      rows: from and to which row it is read; None: all of it.
      turned: whether rows and columns of the matrix in the file are exchanged.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    rows: tuple[int, int] | None = None
    turned: bool = False

    def transposed(self) -> "StoredTensor":
        """The same with rows and columns exchanged; raises ValueError for one that is no matrix."""
        rows, columns = self.shape
        return dataclasses.replace(self, shape=(columns, rows), turned=not self.turned)

    def read(self) -> np.ndarray:
        """The tensor, in the file's dtype; the file stays mapped while the array lives."""
        # Opened anew for every tensor: a file stays mapped while it is open, and the pages read of it count as ours.
        with safe_open(self.path, framework="numpy") as file:
            if self.rows is None:
                return file.get_tensor(self.name).T if self.turned else file.get_tensor(self.name)
            return file.get_slice(self.name)[slice(*self.rows)]


def find_tensors(folder: Path, stem: str) -> dict[str, StoredTensor]:
    """Tensors of the weight files of a folder, in one file or in shards with an index, also in another precision.

    Raises:
      CheckpointError: no weights that are read there (others are named, with the way to convert them), a broken index,
        a shard that is missing, or a file that is not whole.
    """
    found = [path for path in _candidates(folder, stem) if path.exists()]
    if not found:
        raise CheckpointError(_without_weights(folder, stem))
    if len(found) > 1:
        _say_which(*found)
    return _joined(_shards(found[0]) if found[0].suffix == ".json" else [found[0]])


def _candidates(folder: Path, stem: str) -> list[Path]:
    """Where the weights may be, the first that is there counts; an index goes by either of two names."""
    endings = (".safetensors.index{}.json", "{}.safetensors.index.json", "{}.safetensors")
    names = [stem + ending.format(precision) for precision in PRECISIONS for ending in endings]
    return [folder / name for name in dict.fromkeys(names)]


# Once, for a base is looked through several times.
@functools.cache
def _say_which(taken: Path, *others: Path) -> None:
    _LOG.info("%s is read, and not %s beside it.", taken, ", ".join(path.name for path in others))


def _shards(index: Path) -> list[Path]:
    """Files that an index names, all of which must lie beside it."""
    try:
        weight_map = read_object(index).get("weight_map")
    except JsonError as error:
        raise CheckpointError(f"{what_else(index) or error}: fetch the folder again.") from error
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map of tensors to files: fetch the folder again.")
    for name in weight_map.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{index} names {str(name)[:200]!r}, which is no safetensors file beside it.")
    shards = [index.parent / name for name in sorted(set(weight_map.values()))]
    for path in shards:
        if not path.exists():
            raise CheckpointError(f"{path} is named by the index but missing: fetch the folder again.")
    return shards


def _joined(paths: list[Path]) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for path in paths:
        for tensor in tensors_of(path):
            if tensor.name in found:
                raise CheckpointError(f"{path} and {found[tensor.name].path.name} both hold {tensor.name}.")
            found[tensor.name] = tensor
    return found


def tensors_of(path: Path) -> list[StoredTensor]:
    """Tensors of a safetensors file, none of which is read yet; raises CheckpointError for one that is not whole."""
    try:
        check_regular(path)
    except IrregularFileError as error:
        raise CheckpointError(f"{error}: fetch it again.") from error
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    try:
        if header > _LONGEST_HEADER:
            raise SafetensorError(f"its header would have {header:,} bytes")
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            return [StoredTensor(path, name, tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()]
    except SafetensorError as error:
        told = what_else(path) or f"{path} is not a whole safetensors file, but cut off or damaged ({error})"
        raise CheckpointError(f"{told}: fetch it again.") from error


def _without_weights(folder: Path, stem: str) -> str:
    """Why there are no weights to read in a folder, and what to do."""
    wanted = f"{stem}.safetensors"
    others = sorted(path for path in folder.glob("*.safetensors"))
    if others:
        return (
            f"{folder / wanted} is missing: there is {others[0].name}, which may hold other weights; if they are those "
            f"that you mean, rename it to {wanted}."
        )
    pickles = sorted(path for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
    if pickles:
        return (
            f"{pickles[0]} is a pickle, which can execute code, and is not read: load it once with "
            "`from_pretrained(...)` in PyTorch and call `save_pretrained(..., safe_serialization=True)`."
        )
    return f"{folder / wanted} is missing: no safetensors weights in this folder."
