"""A checkpoint as a folder, from which all that is read goes through one value.

Only JSON, text and safetensors are read, nothing that executes.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.recognise import what_else
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, StoredTensor, find_tensors
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.sha256 import sha256_of

_WHAT_TO_GIVE = "give the folder of a checkpoint, as diffusers or transformers writes it"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A folder as diffusers and transformers write it.

    A component is one part of it ("unet", "tokenizer", ...), or "" where the folder itself is the component, as that
    of a ControlNet.

    Attributes:
      folder: the folder.
      left_out: components that are not taken, though they may be there: those that the base can do without.
    """

    folder: Path
    left_out: frozenset[str] = dataclasses.field(default=frozenset(), kw_only=True)

    def where(self, component: str = "", name: str = "") -> str:
        """A component, or a file of it, as error messages name it."""
        return str(self.folder / component / name)

    def has(self, component: str) -> bool:
        """Whether there is such a component."""
        return (self.folder / component).is_dir()

    def takes(self, component: str) -> bool:
        """Whether there is such a component and it is not left out; asked of those that a base can do without."""
        return component not in self.left_out and self.has(component)

    def has_config(self, component: str = "", name: str = "config.json") -> bool:
        """Whether there is such a JSON file of a component."""
        return (self.folder / component / name).exists()

    def file(self, component: str, name: str) -> Path | None:
        """A file of a component, or None where it is not there."""
        path = self.folder / component / name
        return path if path.is_file() else None

    def config(self, component: str = "", name: str = "config.json") -> dict:
        """Read a JSON file of a component; raises CheckpointError where it is missing or not JSON."""
        path = self.folder / component / name
        try:
            return read_object(path)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is missing: {_WHAT_TO_GIVE}.") from error
        except JsonError as error:
            raise CheckpointError(f"{what_else(path) or error}: fetch the folder again.") from error

    def tensors(self, component: str = "", stem: str = DIFFUSERS_WEIGHTS) -> dict[str, StoredTensor]:
        """Find the tensors of a component, in one file, in shards with an index, or in another precision of either.

        Args:
          component: the component.
          stem: name of its weight files without ending.

        Returns:
          Key in the files -> tensor, which is not read yet.
        Raises:
          CheckpointError: see `find_tensors`.
        """
        return find_tensors(self.folder / component, stem)

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
            # Opening a pipe would never end.
            texts = (path for ending in ("json", "txt", "model") for path in part.glob(f"*.{ending}") if path.is_file())
            for path in sorted({*texts, *weights}):
                digest.update(f"{name}/{path.relative_to(part).as_posix()}".encode())
                digest.update(bytes.fromhex(sha256_of(path)))
        return digest.hexdigest()

    def copy(self, component: str, target: str | Path) -> None:
        """Copy all files of a component into the folder `target`, which is made where it is missing."""
        shutil.copytree(self.folder / component, target, dirs_exist_ok=True)
