"""Read the tensors of a PyTorch file (`torch.save` of a state dict) without PyTorch, and nothing else of it.

Such a file is a pickle, which names functions that the reader is to call. This reader knows the handful of names that
describe a tensor, has its own code for them, and refuses a file that asks for any other: nothing in it is executed.

Both formats of `torch.serialization` are read: the zip archive of PyTorch 1.6 and later (`data.pkl` and one entry a
storage), and the older sequence of pickles with the storages after them.
"""

import collections
import dataclasses
import math
import pickle
import pickletools
import reprlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from lisa_jax.files.regular_file import IrregularFileError, check_regular

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_MAGIC = b"PK\x03\x04"

_STORAGE_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read a state dict.

    Args:
      path: a file that `torch.save` wrote: a dictionary of tensors by name.

    Returns:
      Tensor name -> array that owns its memory, in the file's order and dtypes (bfloat16 as `ml_dtypes` has it).
    Raises:
      ValueError: the file asks for anything but tensors, by name; holds something else than tensors by name, or values
        that are not finite; is a TorchScript archive, or is damaged.
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    try:
        check_regular(path)
    except IrregularFileError as error:
        raise ValueError(f"{error}.") from error
    with path.open("rb") as file:
        is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        file.seek(0)
        try:
            tensors, content = _read_zip(file) if is_zip else _read_legacy(file)
            _check_sizes(tensors, path.stat().st_size)
            return {name: _array(name, tensor, content(tensor.storage)) for name, tensor in tensors.items()}
        except _RefusedError as error:
            raise ValueError(f"{path} {error}: only a dictionary of tensors, a state dict, is read.") from error
        # Damaged bytes end in any of the exceptions of pickle, zipfile and numpy.
        except Exception as error:
            raise ValueError(
                f"{path} is no PyTorch file, or a damaged one ({type(error).__name__}: {error}): fetch it again."
            ) from error


class _RefusedError(Exception):
    """A file that is sound, but not a dictionary of tensors."""


@dataclasses.dataclass(frozen=True, slots=True)
class _StorageType:
    """What a storage class of PyTorch stands for; deliberately nothing that could be called."""

    dtype: np.dtype


@dataclasses.dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
    """In place of `torch._utils._rebuild_tensor_v2`; what follows (gradient flag, hooks) is of no use here."""
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    """In place of `torch._utils._rebuild_parameter`."""
    return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): _StorageType(np.dtype(dtype)) for name, dtype in _STORAGE_DTYPES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler for which no name exists but the allowed ones."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"asks for '{module}.{name}', which is no part of a tensor and could execute code")
        return _ALLOWED[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        # ("storage", class, key, device, number of elements), and in the old format a view of another storage or None.
        kind, storage_type, key, _, count, *view = identity
        if kind != "storage" or not isinstance(storage_type, _StorageType) or any(part is not None for part in view):
            raise _RefusedError(f"refers to {reprlib.repr(identity)}, which is not a whole storage")
        return _Storage(str(key), storage_type.dtype, int(count))


def _load(file: BinaryIO) -> Any:
    start = file.tell()
    # The unpickler makes room for as many remembered objects as the highest number among them says.
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if "PUT" in opcode.name and argument > count:
            raise ValueError(f"it numbers an object {argument}")
    file.seek(start)
    return _TensorUnpickler(file, encoding="utf-8").load()


def _load_tensors(file: BinaryIO) -> dict[str, _Tensor]:
    table = _load(file)
    if not isinstance(table, dict):
        raise _RefusedError(f"holds a {type(table).__name__}")
    for name, value in table.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _RefusedError(f"holds {reprlib.repr(name)}, a {type(value).__name__}")
    return table


def _read_legacy(file: BinaryIO) -> tuple[dict[str, _Tensor], Callable[[_Storage], bytes]]:
    """Four pickles (magic number, protocol, platform, the object), one of the storages' keys, then their bytes."""
    if _load(file) != _LEGACY_MAGIC or _load(file) != _LEGACY_PROTOCOL:
        raise ValueError("no magic number")
    if not _load(file)["little_endian"]:
        raise _RefusedError("was written on a big-endian machine")
    tensors = _load_tensors(file)
    # The bytes do not say how wide their elements are.
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
    contents = {}
    for key in _load(file):
        count = int.from_bytes(_read_exactly(file, 8), "little")
        contents[key] = _read_exactly(file, count * dtypes[key].itemsize)
    return tensors, lambda storage: contents[storage.key]


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise EOFError(f"{size - len(content)} bytes are missing")
    return content


def _read_zip(file: BinaryIO) -> tuple[dict[str, _Tensor], Callable[[_Storage], bytes]]:
    """One folder with `data.pkl` and `data/<key>` for every storage; `byteorder` since PyTorch 2.1."""
    archive = zipfile.ZipFile(file)
    names = set(archive.namelist())
    root = next(name for name in sorted(names) if name.rpartition("/")[2] == "data.pkl").removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        raise _RefusedError("is a TorchScript archive, a program")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise _RefusedError("was written on a big-endian machine")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise _RefusedError("is compressed, which PyTorch's files are not")
    with archive.open(f"{root}data.pkl") as pickled:
        tensors = _load_tensors(pickled)
    return tensors, lambda storage: archive.read(f"{root}data/{storage.key}")


def _check_sizes(tensors: Mapping[str, _Tensor], file_size: int) -> None:
    """Refuse tensors that repeat a few stored numbers until the memory is full; weights may be tied, though."""
    if sum(math.prod(tensor.shape) * tensor.storage.dtype.itemsize for tensor in tensors.values()) > 4 * file_size:
        raise ValueError("its tensors are larger than the file")


def _array(name: str, tensor: _Tensor, content: bytes) -> np.ndarray:
    """A tensor as an array of its own, checked to lie inside its storage."""
    flat = np.frombuffer(content, tensor.storage.dtype)
    if flat.size != tensor.storage.count:
        raise ValueError(f"the storage of {name} has {flat.size} elements, not {tensor.storage.count}")
    steps = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)]
    if 0 in tensor.shape:
        return np.empty(tensor.shape, flat.dtype)
    if min([tensor.offset, *tensor.shape, *tensor.strides]) < 0 or tensor.offset + sum(steps) >= flat.size:
        raise ValueError(f"{name} reaches beyond its storage")
    strides = [stride * flat.itemsize for stride in tensor.strides]
    array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False).copy()
    if not np.isfinite(array).all():
        raise _RefusedError(f"holds values that are not finite in {name}")
    return array
