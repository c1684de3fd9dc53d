"""The one door to weights: a folder, a single file or a repository of the hub is opened once, as a `Checkpoint`."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.hub import fetch, fetch_file
from lisa_jax.checkpoints.recognise import no_folder
from lisa_jax.files.home import expanded
from lisa_jax.files.hub import hub_file, hub_name


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
    # Imported where they are needed: both know the networks, and a folder is opened in a tenth of the time without.
    from lisa_jax.checkpoints.with_vae import with_vae

    return with_vae(found, open_checkpoint(vae))


def _opened(spec: str | Path, leave_out: Collection[str]) -> Checkpoint:
    if hub_name(spec) is not None:
        return Checkpoint(fetch(str(spec), leave_out))
    if (named := hub_file(spec)) is not None:
        return _of_file(*fetch_file(*named))
    folder = expanded(spec)
    if folder.suffix == ".safetensors" and folder.is_file():
        return _of_file(folder, folder.with_suffix(""))
    if not folder.is_dir():
        raise CheckpointError(no_folder(folder))
    return Checkpoint(_snapshot(folder) if (folder / "snapshots").is_dir() else folder)


def _of_file(path: Path, folder: Path) -> Checkpoint:
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
