"""Where the networks of a manifest lie: beside it, here or in a repository of the hub, or in another repository."""

import re
from pathlib import Path
from typing import NamedTuple

from lisa_jax.checkpoints.hub import fetch
from lisa_jax.files.hub import MODELS, at_commit, download, glob_of, hub_file, hub_name, listing, name_of_file

# Ends of the names of files that networks come in.
_ENDINGS = (".onnx", ".pth", ".pt", ".bin", ".safetensors")
# No way out of a repository.
_WITHIN = re.compile(r"(\w[\w.-]*/)*\w[\w.-]*", re.ASCII)


class Place(NamedTuple):
    """Where a network lies.

    Attributes:
      path: of the file or folder; one of the hub lies there once it is fetched, see `fetched`.
      repository: of the hub, `owner/name[@revision]`; None: it lies here.
      inside: path in that repository; None: all of it.
    """

    path: Path
    repository: str | None = None
    inside: str | None = None

    @property
    def name(self) -> str:
        """What a result calls it."""
        if self.repository is None:
            return self.path.name
        return self.repository if self.inside is None else name_of_file(self.repository, self.inside)

    def fetched(self) -> "Place":
        """The same, lying here; raises CheckpointError or HubError, see `hub.fetch`."""
        if self.repository is None:
            return self
        if self.inside is None:
            return self._replace(path=fetch(self.repository))
        found = download(self.repository, [glob_of(self.inside), f"{glob_of(self.inside)}/*"])
        return self._replace(path=found / self.inside)


class Surroundings(NamedTuple):
    """A folder with a manifest.

    Attributes:
      folder: here; of a repository, with the manifest alone.
      repository: `owner/name@commit`; None: it lies here.
      files: paths in the repository.
    """

    folder: Path
    repository: str | None = None
    files: tuple[str, ...] = ()

    def place(self, name: str, is_folder: bool) -> Place:
        """What a manifest means by a name; what lies, or would lie, beside it wins."""
        path = self.folder / name
        if self.repository is not None and _WITHIN.fullmatch(name):
            if any(file == name or file.startswith(f"{name}/") for file in self.files):
                return Place(path, self.repository, name)
        elif path.exists() or path.parent.is_dir():
            return Place(path)
        if is_folder:
            return Place(path, None if hub_name(name) is None else name)
        return Place(path, *(hub_file(name, _ENDINGS) or ()))


def surroundings(spec: str | Path, manifest: str) -> Surroundings:
    """The folder, or the repository `owner/name[@revision]`, that should hold a manifest, which is fetched.

    Raises:
      HubError: see `files.hub.download`.
    """
    if hub_name(spec) is None:
        return Surroundings(Path(spec))
    folder = download(str(spec), [manifest])
    return Surroundings(folder, at_commit(str(spec), folder), tuple(listing(str(spec), folder, MODELS)))
