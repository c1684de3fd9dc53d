"""What can be wrong with a file, whatever it holds: each kind is a function of a source of chance and a path."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of every type that JSON has, in place of any value.
NONSENSE = (
    -1,
    1e30,
    10**7,
    10**12,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../x",
    [],
    {},
    [1],
    ["x"],
    {"a": 1},
    True,
    0.5,
)
DEEP = 100_000


def bytes_of(rng: random.Random, path: Path) -> str:
    """Damage a file in a way that no reader may take for whole; says how."""
    kinds = [_empty, _truncated, _pointer, _page, _zeros, _folder, _dangling, _fifo, _device]
    return rng.choice(kinds)(rng, path)


def json_of(rng: random.Random, path: Path) -> str:
    """Damage a JSON file likewise, or as JSON is damaged; says how."""
    kinds = [_not_utf8, _utf16, _array, _number, _deep, _comma, _half, _nul]
    return rng.choice([*kinds, bytes_of])(rng, path)


def flip(rng: random.Random, path: Path) -> str:
    """Flip one bit; says which."""
    content = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(content) or 1)
    if content:
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit} flipped"


def field_of(rng: random.Random, path: Path, names: Callable[[str], bool] = lambda name: True) -> tuple[str, Any]:
    """Put nonsense in the place of a field of a JSON object, or of an object in it: the field's name and the value."""
    content = json.loads(path.read_text())
    places = [(holder, key) for holder, key in _fields(content) if names(key)]
    holder, key = rng.choice(places)
    value = rng.choice([value for value in NONSENSE if value != holder[key]])
    holder[key] = value
    path.write_text(json.dumps(content))
    return key, value


def _fields(content: Any) -> list[tuple[dict, str]]:
    if isinstance(content, list):
        return [place for item in content for place in _fields(item)]
    if not isinstance(content, dict):
        return []
    return [(content, key) for key in content] + [place for item in content.values() for place in _fields(item)]


def _empty(rng: random.Random, path: Path) -> str:
    path.write_bytes(b"")
    return "empty"


def _truncated(rng: random.Random, path: Path) -> str:
    size = path.stat().st_size
    kept = rng.randrange(1, size - 1) if size > 2 else 0
    os.truncate(path, kept)
    return f"{kept} of {size} bytes"


def _pointer(rng: random.Random, path: Path) -> str:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3438167540\n")
    return "a Git LFS pointer"


def _page(rng: random.Random, path: Path) -> str:
    path.write_text("<!doctype html><html><body>404</body></html>\n")
    return "a page of HTML"


def _zeros(rng: random.Random, path: Path) -> str:
    path.write_bytes(bytes(path.stat().st_size))
    return "zeros"


def _folder(rng: random.Random, path: Path) -> str:
    path.unlink()
    path.mkdir()
    return "a folder"


def _dangling(rng: random.Random, path: Path) -> str:
    path.unlink()
    path.symlink_to("gone")
    return "a link to nothing"


def _fifo(rng: random.Random, path: Path) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a FIFO"


def _device(rng: random.Random, path: Path) -> str:
    path.unlink()
    path.symlink_to(rng.choice(["/dev/zero", "/dev/full", "/dev/null"]))
    return f"a link to {path.readlink()}"


def _not_utf8(rng: random.Random, path: Path) -> str:
    content = path.read_bytes()
    place = rng.randrange(len(content) + 1)
    path.write_bytes(content[:place] + b"\xff\xfe" + content[place:])
    return f"no UTF-8 at byte {place}"


def _utf16(rng: random.Random, path: Path) -> str:
    path.write_text(path.read_text(), encoding="utf-16")
    return "UTF-16"


def _array(rng: random.Random, path: Path) -> str:
    path.write_text(f"[{path.read_text()}]")
    return "an array"


def _number(rng: random.Random, path: Path) -> str:
    path.write_text(rng.choice(["3", "null", '"x"', "NaN", "true"]))
    return f"{path.read_text()} alone"


def _deep(rng: random.Random, path: Path) -> str:
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
    path.write_text(opening * DEEP + "1" + closing * DEEP)
    return f"{DEEP} levels of {opening}"


def _comma(rng: random.Random, path: Path) -> str:
    path.write_text(path.read_text().rstrip()[:-1] + ",}")
    return "a comma before the end"


def _half(rng: random.Random, path: Path) -> str:
    text = path.read_text().rstrip()
    path.write_text(text[: rng.randrange(1, len(text) - 1)])
    return "cut short"


def _nul(rng: random.Random, path: Path) -> str:
    path.write_bytes(b"\0" * 8 + path.read_bytes())
    return "NULs before it"


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
