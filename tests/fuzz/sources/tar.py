"""WebDataset shards: headers that lie, files that are missing or there twice, damaged tars."""

import gzip
import io
import random
import tarfile
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right
from fuzz.pictures import encoded, odd

ROWS = 6


def members() -> dict[str, bytes]:
    """Files of a valid shard by name."""
    found = {}
    for index in range(ROWS):
        found[f"row{index}.png"] = encoded(index)
        found[f"row{index}.pose_image.png"] = encoded(100 + index)
        found[f"row{index}.txt"] = f"number {index}".encode()
    return found


def write(folder: Path, files: list[tuple[str, bytes]]) -> Path:
    """A source of one shard."""
    folder.mkdir(parents=True)
    path = folder / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def picture(rng: random.Random, source: Path) -> Mutation:
    """A picture that is odd."""
    how, content, right = odd(rng)
    row = rng.randrange(ROWS)
    name = rng.choice([f"row{row}.png", f"row{row}.pose_image.png"])
    write(source, list((members() | {name: content}).items()))
    return Mutation(f"tar: {name} is {how}", right, (f"row{row}",))


# What a header lies about, where in it, and what stands there.
_LIES = (
    ("size 2^40", 124, b"\x80" + (2**40).to_bytes(11, "big")),
    ("a negative size", 124, b"\xff" * 12),
    ("no number for a size", 124, b"xxxxxxxxxxx\0"),
    ("a link's type", 156, b"2"),
    ("a sparse type", 156, b"S"),
    ("a device's type", 156, b"3"),
    ("a name of one dot", 0, b"." + bytes(99)),
    ("a long name's type", 156, b"L"),
    ("a PAX type", 156, b"x"),
    ("the checksum", 148, b"0000000\0"),
)


def header(rng: random.Random, source: Path) -> Mutation:
    """A header that lies."""
    path = write(source, list(members().items()))
    content = bytearray(path.read_bytes())
    what, place, value = rng.choice(_LIES)
    with tarfile.open(path) as tar:
        start = tar.getmembers()[rng.randrange(3)].offset
    content[start + place : start + place + len(value)] = value
    if what != "the checksum":
        block = bytes(content[start : start + 148]) + b" " * 8 + bytes(content[start + 156 : start + 512])
        content[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    path.write_bytes(content)
    # What is no file is none of a row's.
    return Mutation(f"tar: a header with {what}", Right.REFUSED, (path.name,))


def file(rng: random.Random, source: Path) -> Mutation:
    """A shard that is damaged."""
    path = write(source, list(members().items()))
    how = damage.bytes_of(rng, path)
    return Mutation(f"tar: {path.name}: {how}", Right.REFUSED, (path.name, source.name))


def names(rng: random.Random, source: Path) -> Mutation:
    """Files that are there twice, not at all, or under other names."""
    files = list(members().items())
    changed = {
        "a file twice": [*files, files[0]],
        "no caption": [(name, content) for name, content in files if name != "row0.txt"],
        "outside": [(f"../../{name}" if name.startswith("row0") else name, content) for name, content in files],
        "hidden": [(f".{name}", content) for name, content in files],
        "compressed": files,
        "a JSON that is deep": [_in_json(name, content) for name, content in files],
        "binary": [(name, b"\xff\xfe\x00" if name == "row0.txt" else content) for name, content in files],
    }
    what = rng.choice(list(changed))
    path = write(source, changed[what])
    if what == "compressed":
        path.write_bytes(gzip.compress(path.read_bytes()))
    # Keys are no paths.
    right = Right.ANY if what == "outside" else Right.REFUSED
    return Mutation(f"tar: {what}", right, (path.name, "row0", source.name))


# Fields of JSON beside a picture, without a caption elsewhere.
_JSON = (
    *("[1]", "3", "{}", "NaN", "{", '{"caption": 3}', '{"caption": null}', '{"caption": [[1]]}'),
    '{"caption": "\\ud800"}',
)


def fields(rng: random.Random, source: Path) -> Mutation:
    """Captions in JSON that are none."""
    text = rng.choice(_JSON)
    files = [(name, content) for name, content in members().items() if not name.endswith(".txt")]
    path = write(source, [*files, *((f"row{row}.json", text.encode()) for row in range(ROWS))])
    return Mutation(f"tar: captions in {text}", Right.REFUSED, (path.name, "row0"))


def extended(rng: random.Random, source: Path) -> Mutation:
    """Headers of later formats, which have names, sizes and links of their own."""
    source.mkdir(parents=True)
    path = source / "shard.tar"
    how = rng.choice(["path", "size", "linkpath", "GNU.sparse.realsize", "hdrcharset", "mtime"])
    value = {"path": "../../../x.png", "size": str(2**50), "linkpath": "/etc/passwd", "mtime": "9" * 400}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name == "row0.png":
                info.pax_headers = {how: value.get(how, "9" * 20)}
            tar.addfile(info, io.BytesIO(content))
    return Mutation(f"tar: an extended header with {how}", Right.ANY, (path.name, "row0"))


def second(rng: random.Random, source: Path) -> Mutation:
    """A second shard that is damaged, or the first once more."""
    path = write(source, list(members().items()))
    other = path.with_name("shard2.tar")
    other.write_bytes(path.read_bytes())
    if rng.random() < 0.7:
        return Mutation(f"tar: {other.name}: {damage.bytes_of(rng, other)}", Right.REFUSED, (other.name, source.name))
    path.write_bytes(path.read_bytes() + other.read_bytes())
    other.unlink()
    return Mutation("tar: two in one file", Right.ANY, (path.name,))


def _in_json(name: str, content: bytes) -> tuple[str, bytes]:
    return (name.replace(".txt", ".json"), b"[" * damage.DEEP) if name.endswith(".txt") else (name, content)


KINDS: Kinds = {picture: 6, header: 8, file: 5, names: 6, fields: 4, extended: 4, second: 3}
