"""Checkpoints of the Hugging Face hub: `owner/name[@revision]`, through its own client and cache.

The client reads its usual variables: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_DISABLE_PROGRESS_BARS.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.weight_files import PRECISIONS
from lisa_jax.files.home import expanded
from lisa_jax.files.json_object import JsonError, read_object

# No sign of a pattern, and no way out of the repository.
_COMPONENT = re.compile(r"\w+", re.ASCII)
_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
# Stems of weight files, as diffusers and transformers call them.
_STEMS = ("diffusion_pytorch_model", "model")
# Of the repository itself, as that of a ControlNet or of CLIP; one by one, for `*` stands for folders, too.
_TEXTS = (
    *("model_index.json", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "preprocessor_config.json"),
    *(f"{stem}.safetensors.index*.json" for stem in _STEMS),
)
# What pipelines have and nothing here reads.
_NEVER_READ = ("safety_checker",)


def hub_name(spec: str | Path) -> str | None:
    """The repository `owner/name` that a checkpoint is asked for by, without its revision; None: it names a folder.

    A local folder wins, and what would lie in a local folder that is there is taken for a path.
    """
    found, path = _ID.fullmatch(str(spec)), expanded(spec)
    return None if found is None or path.exists() or path.parent.is_dir() else found["name"]


def fetch(spec: str) -> Path:
    """The folder in the hub's cache that holds what is read of a checkpoint; what is missing there is fetched.

    Of weights in several precisions one is fetched, float32 where it is there, as safetensors alone.

    Args:
      spec: `owner/name[@revision]`, a branch, a tag or a commit.

    Raises:
      CheckpointError: no such repository or revision, no leave to read it, or the hub cannot be reached.
    """
    folder = _download(spec, [*_TEXTS, *_weights([""], "")])
    components = _components(folder)
    if components:
        texts = [f"{component}*{suffix}" for component in components for suffix in (".json", ".txt", ".model")]
        _download(spec, [*texts, *_weights(components, "")])
    for precision in filter(None, PRECISIONS):
        if lacking := [component for component in ("", *components) if _lacks_weights(folder / component)]:
            _download(spec, _weights(lacking, precision))
    return folder


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


def _download(spec: str, patterns: list[str]) -> Path:
    # Here, for it takes half a second.
    from huggingface_hub import constants, errors, snapshot_download

    found = _ID.fullmatch(spec)
    try:
        return Path(snapshot_download(found["name"], revision=found["revision"], allow_patterns=patterns))
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{spec} is gated: accept its terms on its page, then log in by `hf auth login`, or set HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{spec} is neither a folder here nor a repository that {constants.ENDPOINT} shows you: mind the spelling, "
            "or, if it is private, log in by `hf auth login`, or set HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{spec}: {found['name']} is there, but has no revision {found['revision'] or 'main'}."
        ) from error
    except errors.HFValidationError as error:
        raise CheckpointError(
            f"{spec} is neither a folder here nor a name that repositories of the hub have."
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(f"{spec} is no folder here; for the hub, {_why_not_there(error.__cause__)}.") from error
    except errors.HTTPError as error:
        raise CheckpointError(
            f"{spec} could not be fetched from {constants.ENDPOINT} ({type(error).__name__}): try again; what has "
            "come is kept."
        ) from error


def _why_not_there(cause: BaseException | None) -> str:
    """Why the client found something neither at the hub nor in its cache, and what to do."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and it is not whole in the cache: fetch it once without"
    response = getattr(cause, "response", None)
    if response is not None and response.status_code == 403:
        return (
            f"{constants.ENDPOINT} refuses it (403): log in by `hf auth login`, or set HF_TOKEN to one that may read it"
        )
    if response is not None:
        return f"{constants.ENDPOINT} answers with status {response.status_code}: try again"
    return (
        f"{constants.ENDPOINT} cannot be reached, and it is not whole in the cache: try again, set HF_ENDPOINT to a "
        "mirror, or give a folder"
    )
