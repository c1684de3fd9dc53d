"""A source of weights: it is opened once, and everything of it is read through the value that opening gives.

Only JSON, text and safetensors are read, nothing that executes.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS_WEIGHTS = "model"
_WHAT_TO_GIVE = "give the folder of a checkpoint, as diffusers or transformers writes it"


class CheckpointError(ValueError):
    """A checkpoint that is missing something, or whose tensors do not fit the model that its config describes."""


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file, read when it is asked for.

    Attributes:
      path: the file.
      name: key of the tensor in it.
    """

    path: Path
    name: str

    def read(self) -> np.ndarray:
        """The tensor as the file has it; the file stays mapped while the array lives."""
        # Opened anew for every tensor: a file stays mapped while it is open, and the pages read of it count as ours.
        with safe_open(self.path, framework="numpy") as file:
            return file.get_tensor(self.name)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder as diffusers and transformers write it.

    A component is one part of it ("unet", "tokenizer", ...), or "" where the folder itself is the component, as that
    of a ControlNet.
    """

    folder: Path

    def where(self, component: str = "", name: str = "") -> str:
        """A component, or a file of it, as error messages name it."""
        return str(self.folder / component / name)

    def has(self, component: str) -> bool:
        """Whether there is such a component."""
        return (self.folder / component).is_dir()

    def file(self, component: str, name: str) -> Path | None:
        """A file of a component, or None where it is not there."""
        path = self.folder / component / name
        return path if path.is_file() else None

    def config(self, component: str = "", name: str = "config.json") -> dict:
        """Read a JSON file of a component; raises CheckpointError where it is missing or not JSON."""
        path = self.file(component, name)
        if path is None:
            raise CheckpointError(f"{self.where(component, name)} is missing: {_WHAT_TO_GIVE}.")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{path} is not valid JSON ({error}): fetch the folder again.") from error

    def tensors(self, component: str = "", stem: str = DIFFUSERS_WEIGHTS) -> dict[str, StoredTensor]:
        """Find the tensors of a component, in one file, in shards with an index, or in the fp16 variant of either.

        Args:
          component: the component.
          stem: name of its weight files without ending.

        Returns:
          Key in the files -> tensor, which is not read yet.
        Raises:
          CheckpointError: no safetensors there (a `.bin` is named with the way to convert it), or a missing or
            truncated shard.
        """
        folder = self.folder / component
        for variant in ("", ".fp16"):
            index = folder / f"{stem}.safetensors.index{variant}.json"
            if index.is_file():
                names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
                return {tensor.name: tensor for name in sorted(names) for tensor in _tensors_of(folder / name)}
            single = folder / f"{stem}{variant}.safetensors"
            if single.is_file():
                return {tensor.name: tensor for tensor in _tensors_of(single)}
        binary = next(folder.glob("*.bin"), None)
        if binary is not None:
            raise CheckpointError(
                f"{binary} is a pickle, which can execute code, and is not read: load it once with "
                "`from_pretrained(...)` in PyTorch and call `save_pretrained(..., safe_serialization=True)`."
            )
        raise CheckpointError(f"{folder / (stem + '.safetensors')} is missing: no safetensors weights in this folder.")

    def fingerprint(self, components: Mapping[str, str | None]) -> str:
        """SHA-256 over what is read of the checkpoint, as hex digits: tells one base from another.

        Args:
          components: component -> stem of its weight files, None for one without weights. The component "" goes by the
            name of the folder.

        Raises:
          CheckpointError: a component whose weights are missing.
        """
        digest = hashlib.sha256()
        for component, stem in sorted(components.items()):
            part, name = self.folder / component, component or self.folder.resolve().name
            weights = () if stem is None else (tensor.path for tensor in self.tensors(component, stem).values())
            for path in sorted({*part.glob("*.json"), *part.glob("*.txt"), *weights}):
                digest.update(f"{name}/{path.relative_to(part).as_posix()}".encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def copy(self, component: str, target: str | Path) -> None:
        """Copy all files of a component into the folder `target`, which is made where it is missing."""
        shutil.copytree(self.folder / component, target, dirs_exist_ok=True)


def open_checkpoint(spec: str | Path) -> Checkpoint:
    """Open a source of weights.

    Args:
      spec: a folder as diffusers or transformers writes it.

    Raises:
      CheckpointError: there is no such folder.
    """
    folder = Path(spec)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing: {_WHAT_TO_GIVE}.")
    return Checkpoint(folder)


def _tensors_of(path: Path) -> list[StoredTensor]:
    if not path.is_file():
        raise CheckpointError(f"{path} is named by the index but missing: fetch the folder again.")
    try:
        with safe_open(path, framework="numpy") as file:
            return [StoredTensor(path, name) for name in list(file.keys())]
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): fetch it again.") from error
