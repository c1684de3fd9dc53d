"""Requests whose files have been read: how large their conditions are, and what tells them from others."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from lisa_jax.data.geometry import check_same_aspect
from lisa_jax.data.rows.named_file import read_named
from lisa_jax.drawing.clips import sizes_and_hashes
from lisa_jax.drawing.requests import Request
from lisa_jax.media.channels import RGB
from lisa_jax.media.decode import decode_picture


@dataclasses.dataclass(frozen=True)
class Examined:
    """A request whose files have been read once.

    Attributes:
      request: what was asked for.
      size: (height, width) of the first condition as it is.
      hashes: SHA-256 of every condition's file by name, and of the first frame's.
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
        paths = dict(self.request.conditions)
        if self.request.first_frame is not None:
            paths["first_frame"] = self.request.first_frame
        files = {name: {"file": str(path), "sha256": self.hashes[name]} for name, path in paths.items()}
        words = {"prompt": self.request.prompt, "negative_prompt": self.request.negative_prompt}
        clip = {} if self.request.clip is None else {"fps": self.request.clip.fps, "motion": self.request.clip.motion}
        return {**words, "conditions": files, "size": list(size), "digest": self.digest, **clip}


def examined(request: Request, channels: Mapping[str, int] = MappingProxyType({})) -> Examined:
    """Read a request's files; `channels` are of the conditions, by name, that have not 3.

    Raises:
      RowError, PictureError: one that is missing or no picture, or pictures of different aspect ratios.
    """
    if request.clip is not None:
        sizes, hashes = sizes_and_hashes(request, channels)
        return _of_one_shape(request, sizes, hashes)
    contents = {name: _contents(request, name) for name in request.conditions}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    sizes = {name: _decoded(request, name, data, channels).shape[:2] for name, data in contents.items()}
    return _of_one_shape(request, sizes, hashes)


def _of_one_shape(request: Request, sizes: Mapping[str, tuple[int, int]], hashes: Mapping[str, str]) -> Examined:
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
