"""A source of weights: it is opened once, and everything of it is read through the value that opening gives.

Only JSON, text and safetensors are read, nothing that executes.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.hub import fetch, fetch_file
from lisa_jax.checkpoints.recognise import no_folder, what_else
from lisa_jax.checkpoints.weight_files import StoredTensor, find_tensors
from lisa_jax.files.home import expanded
from lisa_jax.files.hub import hub_file, hub_name
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.sha256 import sha256_of

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS_WEIGHTS = "model"
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


def open_checkpoint(spec: str | Path, leave_out: Collection[str] = (), vae: str | Path | None = None) -> Checkpoint:
    """Open a source of weights.

    Args:
      spec: a folder as diffusers or transformers writes it, or that of the hub's cache that holds it as its snapshot;
        a `.safetensors` file, see `single_file`; else `owner/name[@revision]` of the hub, or one file of it,
        `owner/name/FILE.safetensors[@revision]`, which is fetched into its cache.
      leave_out: components that are not taken; of the hub they are not fetched.
      vae: another source, whose VAE goes in place of its own: of a VAE alone, or a whole base.

    Raises:
      CheckpointError: there is no such folder, and what lies there in its place is named; see `hub.fetch`, and
        `with_vae.with_vae`.
    """
    found = dataclasses.replace(_opened(spec, leave_out), left_out=frozenset(leave_out))
    if vae is None:
        return found
    # Here, for it is made of components, which read a checkpoint.
    from lisa_jax.checkpoints.with_vae import with_vae

    return with_vae(found, open_checkpoint(vae))


def _opened(spec: str | Path, leave_out: Collection[str]) -> Checkpoint:
    if hub_name(spec) is not None:
        return Checkpoint(fetch(str(spec), leave_out))
    if (named := hub_file(spec)) is not None:
        return _open_single_file(*fetch_file(*named))
    folder = expanded(spec)
    if folder.suffix == ".safetensors" and folder.is_file():
        return _open_single_file(folder, folder.with_suffix(""))
    if not folder.is_dir():
        raise CheckpointError(no_folder(folder))
    return Checkpoint(_snapshot(folder) if (folder / "snapshots").is_dir() else folder)


def _open_single_file(path: Path, folder: Path) -> Checkpoint:
    # Here, for it is made of the components, which read a checkpoint.
    from lisa_jax.checkpoints.single_file import open_single_file

    return open_single_file(path, folder)


def _snapshot(cache: Path) -> Path:
    """The snapshot of a repository in the hub's cache: that of its branch `main`, else the only one."""
    main = cache / "refs" / "main"
    named = main.read_text(errors="replace").strip() if main.is_file() and main.stat().st_size < 200 else ""
    snapshots = sorted(path for path in (cache / "snapshots").iterdir() if path.is_dir())
    chosen = [path for path in snapshots if path.name == named] or snapshots
    if len(chosen) != 1:
        names = ", ".join(path.name for path in snapshots) or "none"
        raise CheckpointError(f"{cache} is a folder of the hub's cache: give one of its snapshots ({names}).")
    return chosen[0]
