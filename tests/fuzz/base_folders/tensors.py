"""Tensors of a base that are not as its config says, or not finite, and headers that lie."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from fuzz.case import Kinds, Mutation, Right

Tensors = dict[str, np.ndarray]


def read(path: Path) -> Tensors:
    """The tensors of a file."""
    return load_file(path)


def write(path: Path, tensors: Tensors) -> None:
    """A file of tensors, as others write it."""
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, {"format": "pt"})


def _with_infinity(tensor: np.ndarray) -> np.ndarray:
    changed = tensor.copy()
    changed.reshape(-1)[0] = np.inf
    return changed


# New name and value of a tensor; none: it is gone.
CHANGES: dict[str, Callable[[str, np.ndarray], Tensors]] = {
    "gone": lambda name, tensor: {},
    "and one more": lambda name, tensor: {name: tensor, f"{name}.more": tensor},
    "twice as long": lambda name, tensor: {name: np.concatenate([tensor] * 2)},
    "NaN": lambda name, tensor: {name: np.full_like(tensor, np.nan)},
    "with an infinity": lambda name, tensor: {name: _with_infinity(tensor)},
    "integers": lambda name, tensor: {name: np.zeros(tensor.shape, np.int64)},
    "a number": lambda name, tensor: {name: np.ones((), np.float32)},
    "empty": lambda name, tensor: {name: tensor[:0]},
    "under another name": lambda name, tensor: {f"module.{name}": tensor},
}


def tensor(rng: random.Random, base: Path) -> Mutation:
    """A tensor that is not as it should be; that of a VAE's decoder is not read by all commands."""
    path = rng.choice(sorted(base.rglob("*.safetensors")))
    tensors = read(path)
    name, how = rng.choice(sorted(tensors)), rng.choice(list(CHANGES))
    write(path, tensors | CHANGES[how](name, tensors.pop(name)))
    # Readers say names as their component has them.
    named = (name, name.removeprefix("text_model."), path.name)
    return Mutation(f"{path.relative_to(base)}: {name} {how}", Right.EITHER, named)


LIES = (
    ("shape", [10**12]),
    ("shape", [-1]),
    ("shape", "x"),
    ("dtype", "F8_E4M3"),
    ("dtype", "x"),
    ("data_offsets", [0, 10**12]),
    ("data_offsets", [8, 0]),
    ("data_offsets", None),
)


def header(rng: random.Random, base: Path) -> Mutation:
    """A header that lies about a tensor, or about its own length."""
    path = rng.choice(sorted(base.rglob("*.safetensors")))
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    told = json.loads(content[8:start])
    name = rng.choice([key for key in told if key != "__metadata__"])
    field, value = rng.choice(LIES)
    told[name][field] = value
    written = json.dumps(told).encode()
    length = rng.choice([len(written), len(written), 2**62, 0, len(content)])
    path.write_bytes(length.to_bytes(8, "little") + written + content[start:])
    what = f"{path.relative_to(base)}: {field} {value} in the header of {length} bytes"
    return Mutation(what, Right.EITHER, (path.name, name))


KINDS: Kinds = {tensor: 20, header: 6}
