"""Write a safetensors file one tensor at a time.

The safetensors library writes a dictionary of all tensors, which for a checkpoint is a second copy of it. The format is
simple enough to stream: 8 bytes of header length, a JSON header with dtype, shape and place of every tensor, the bytes.
The file is the one that the library writes, byte for byte.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lisa_jax.files.whole_file import write_whole

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "uint8": "U8",
}


def write_safetensors(
    path: str | Path,
    specs: Mapping[str, tuple[tuple[int, ...], jnp.dtype]],
    tensor: Callable[[str], np.ndarray],
    metadata: Mapping[str, str],
) -> None:
    """Write the file, under its name only when it is whole.

    Args:
      path: the file.
      specs: key -> shape and dtype.
      tensor: gives the tensor of a key; called once a key, its result is dropped before the next.
      metadata: strings for the header.

    Raises:
      ValueError: a dtype that the format lacks, or a tensor that is not as its spec says.
    """
    shapes = {key: tuple(shape) for key, (shape, _) in specs.items()}
    dtypes = {key: np.dtype(dtype) for key, (_, dtype) in specs.items()}
    # Widest dtype first, so that every tensor is aligned.
    keys = sorted(specs, key=lambda key: (-dtypes[key].itemsize, key))
    header, end = {"__metadata__": dict(metadata)}, 0
    for key in keys:
        shape, dtype = shapes[key], dtypes[key]
        if dtype.name not in _DTYPES:
            raise ValueError(f"tensor {key}: dtype {dtype.name} cannot be written to safetensors.")
        start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        header[key] = {"dtype": _DTYPES[dtype.name], "shape": list(shape), "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for key in keys:
                array = np.asarray(tensor(key), order="C")
                if (array.shape, array.dtype) != (shapes[key], dtypes[key]):
                    raise ValueError(
                        f"tensor {key} is {array.dtype.name} {array.shape}, but was announced as {specs[key]}."
                    )
                # Not by array.tofile, whose error on a full disk does not say what is wrong.
                file.write(array.reshape(-1).view(np.uint8).data)

    write_whole(path, write)
