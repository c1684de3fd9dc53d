"""What to sample beside a data set: prompts with condition pictures."""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lisa_jax.data.geometry import check_same_aspect
from lisa_jax.data.rows.named_file import read_named
from lisa_jax.experiments.kinds import Kind
from lisa_jax.files.path_list import split_paths
from lisa_jax.media.channels import RGB
from lisa_jax.media.decode import decode_picture


@dataclasses.dataclass(frozen=True)
class Request:
    """One picture to make.

    Attributes:
      where: where it was asked for, for messages.
      prompt: text.
      conditions: file of every condition by its side network's name.
      negative_prompt: text in place of the one for all, or None.

    Raises:
      ValueError: a text that is none in Unicode.
    """

    where: str
    prompt: str
    conditions: Mapping[str, Path]
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt or "")):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{self.where}: the {name} {text!a} holds half a character: write UTF-8.") from None


@dataclasses.dataclass(frozen=True)
class Examined:
    """A request whose files have been read once.

    Attributes:
      request: what was asked for.
      size: (height, width) of the first condition as it is.
      hashes: SHA-256 of every condition's file by name.
    """

    request: Request
    size: tuple[int, int]
    hashes: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hash of everything that the picture depends on but its size; 16 hexadecimal digits."""
        asked = self.request
        digest = hashlib.sha256(json.dumps([asked.prompt, asked.negative_prompt, list(asked.conditions)]).encode())
        for file_hash in self.hashes.values():
            digest.update(bytes.fromhex(file_hash))
        return digest.hexdigest()[:16]

    def record(self, size: tuple[int, int]) -> dict[str, Any]:
        """What is kept beside the picture, which is of this size (height, width), as JSON."""
        files = {
            name: {"file": str(path), "sha256": self.hashes[name]} for name, path in self.request.conditions.items()
        }
        words = {"prompt": self.request.prompt, "negative_prompt": self.request.negative_prompt}
        return {**words, "conditions": files, "size": list(size), "digest": self.digest}


def examined(request: Request, channels: Mapping[str, int] = MappingProxyType({})) -> Examined:
    """Read a request's files; `channels` are of the conditions, by name, that have not 3.

    Raises:
      RowError, PictureError: one that is missing or no picture, or pictures of different aspect ratios.
    """
    contents = {name: _contents(request, name) for name in request.conditions}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    sizes = {name: _decoded(request, name, data, channels).shape[:2] for name, data in contents.items()}
    first, *others = sizes
    for name in others:
        check_same_aspect(name, sizes[name], sizes[first], request.where, f"condition {first!r}")
    return Examined(request, sizes[first], hashes)


def read_conditions(request: Request, channels: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The pictures of a request as `lisa_jax prepare` reads those of rows, uint8 (H, W, c) by name, as they are.

    Raises:
      RowError: a file that is missing.
      PictureError: one that is no picture, see `decode_picture`.
    """
    return {name: _decoded(request, name, _contents(request, name), channels) for name in request.conditions}


def _contents(request: Request, name: str) -> bytes:
    # The user's own words, whatever folder they lead to.
    return read_named(Path(), str(request.conditions[name]), allow_outside=True, what=name, where=request.where)


def _decoded(request: Request, name: str, data: bytes, channels: Mapping[str, int]) -> np.ndarray:
    where, file = request.where, str(request.conditions[name])
    return decode_picture(data, where if file in where else f"{where}: {file}", channels.get(name, RGB))


def requests_of_flags(prompts: Sequence[str], conditions: Sequence[str], names: Collection[str]) -> list[Request]:
    """The i-th prompt with the i-th condition.

    Args:
      prompts: texts.
      conditions: files; for several side networks one file each, with commas between them, in the order of `names`.
      names: the side networks.

    Raises:
      ValueError: not as many conditions as prompts, or as files in a condition as side networks.
    """
    if len(prompts) != len(conditions):
        raise ValueError(
            f"--prompt is given {len(prompts)} times and --condition {len(conditions)} times: give each prompt one."
        )
    found = []
    for prompt, condition in zip(prompts, conditions, strict=True):
        files = split_paths(condition) if len(names) > 1 else [condition]
        if len(files) != len(names):
            raise ValueError(
                f"--condition={condition} has {len(files)} files: give one for each of {', '.join(names)}, in this "
                "order."
            )
        paths = {name: Path(file) for name, file in zip(names, files, strict=True)}
        found.append(Request(f"--condition={condition}", prompt, paths))
    return found


def numbers_by_name(
    flag: str, parts: list[str] | None, names: tuple[str, ...], kind: Kind
) -> float | dict[str, float] | None:
    """One number for all, numbers in the order of the side networks, or name=number of each; all of a kind."""
    if parts is None:
        return None
    found = _numbers(parts, names)
    for number in found.values() if isinstance(found, dict) else [found]:
        if number is None or not kind.takes(number):
            each = f", or one for each of {', '.join(names)}" if len(names) > 1 else ""
            raise ValueError(f"--{flag}={','.join(parts)}: give one number{each}: {kind}.")
    return found


def _numbers(parts: list[str], names: tuple[str, ...]) -> float | dict[str, float] | None:
    """None where they are no numbers, or not one for each."""
    try:
        if len(parts) == 1 and "=" not in parts[0]:
            return float(parts[0])
        pairs = dict(part.split("=") for part in parts) if "=" in parts[0] else dict(zip(names, parts, strict=True))
        return {name: float(pairs[name]) for name in names} if set(pairs) == set(names) else None
    # None at all, as of --control_scale=.
    except (ValueError, IndexError):
        return None
