"""Checkpoints of the Hugging Face hub: `owner/name[@revision]`, through its own client and cache.

See `files.hub` for how the hub is asked.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, PRECISIONS, TRANSFORMERS_WEIGHTS
from lisa_jax.files.hub import at_commit, download
from lisa_jax.files.hub_errors import HubError
from lisa_jax.files.json_object import JsonError, read_object

# No sign of a pattern, and no way out of the repository.
_COMPONENT = re.compile(r"\w+", re.ASCII)
_STEMS = (DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS)
# Of the repository itself, as that of a ControlNet or of CLIP; one by one, for `*` stands for folders, too.
_TEXTS = (
    *("model_index.json", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "preprocessor_config.json"),
    *(f"{stem}.safetensors.index*.json" for stem in _STEMS),
    *(f"{stem}{precision}.safetensors.index.json" for stem in _STEMS for precision in PRECISIONS if precision),
    # For the model card of what is made from it.
    *("README.md", *(f"{name}{ending}" for name in ("LICENSE", "NOTICE") for ending in ("", ".md", ".txt"))),
)
# What pipelines have and nothing here reads.
_NEVER_READ = ("safety_checker",)


def fetch(spec: str, leave_out: Collection[str] = ()) -> Path:
    """The folder in the hub's cache that holds what is read of a checkpoint; what is missing there is fetched.

    Of weights in several precisions one is fetched, float32 where it is there, as safetensors alone.

    Args:
      spec: `owner/name[@revision]`, a branch, a tag or a commit.
      leave_out: components that are not wanted.

    Raises:
      CheckpointError: no such repository or revision, no leave to read it, or the hub cannot be reached.
    """
    folder = _download(spec, [*_TEXTS, *_weights([""], "")])
    pinned = at_commit(spec, folder)
    components = [component for component in _components(folder) if component.removesuffix("/") not in leave_out]
    if components:
        _download(pinned, [*_texts(components), *_weights(components, "")])
    for precision in filter(None, PRECISIONS):
        if lacking := [component for component in ("", *components) if _lacks_weights(folder / component)]:
            _download(pinned, _weights(lacking, precision))
    return folder


def fetch_file(repository: str, file: str) -> tuple[Path, Path]:
    """A file of weights in the hub's cache, and the folder that has what it lacks; what is missing there is fetched.

    Where the repository holds a pipeline, too, what the file lacks is taken from it: its texts, and no other weights.

    Args:
      repository: `owner/name[@revision]`.
      file: its path in the repository.

    Raises:
      CheckpointError: as `fetch`; or the repository has no such file.
    """
    folder = _download(repository, [*_TEXTS, file])
    path = folder / file
    if not path.is_file():
        raise CheckpointError(f"{repository} has no file {file}: mind the spelling.")
    components = _components(folder)
    if components:
        _download(at_commit(repository, folder), _texts(components))
    return path, folder if components else path.with_suffix("")


def _texts(components: Sequence[str]) -> list[str]:
    return [f"{component}*{suffix}" for component in components for suffix in (".json", ".txt", ".model")]


def _components(folder: Path) -> list[str]:
    """Folders of the components that a pipeline's `model_index.json` names, whatever family it is of, as `unet/`."""
    try:
        index = read_object(folder / "model_index.json")
    # That it is damaged is told by who reads the checkpoint.
    except (FileNotFoundError, JsonError):
        return []
    # Library and class, or nulls for what a pipeline may have and this one has not.
    named = [name for name, value in index.items() if isinstance(value, list) and all(value)]
    return sorted(f"{name}/" for name in named if _COMPONENT.fullmatch(name) and name not in _NEVER_READ)


def _weights(components: Sequence[str], precision: str) -> list[str]:
    """Patterns of files of weights in one precision, whole or in shards by either way to name them."""
    endings = (f"{precision}.safetensors", f"{precision}-?????-of-?????.safetensors")
    endings += (f"-?????-of-?????{precision}.safetensors",)
    return [f"{component}{stem}{ending}" for component in components for stem in _STEMS for ending in endings]


def _lacks_weights(folder: Path) -> bool:
    """Whether a component is there and no weights of it."""
    return (folder / "config.json").is_file() and not any(folder.glob("*.safetensors"))


def _download(spec: str, patterns: Sequence[str]) -> Path:
    try:
        return download(spec, patterns)
    except HubError as error:
        raise CheckpointError(str(error)) from error
