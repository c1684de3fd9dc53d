"""Repositories of the Hugging Face hub, `owner/name[@revision]`, through its own client and cache.

The client reads its usual variables: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_DISABLE_PROGRESS_BARS.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lisa_jax.files.home import expanded

# A file of weights in a repository; no sign of a pattern, and no way out of it.
_FILE = re.compile(
    r"(?P<name>\w[\w.-]*/\w[\w.-]*)/(?P<file>(?:\w[\w.-]*/)*\w[\w.-]*)(?P<revision>@[\w./-]+)?", re.ASCII
)
# What is called so is a file, if a missing one, and no repository.
_ENDINGS = (".safetensors", ".parquet", ".tar", ".jsonl", ".csv")
MODELS, DATASETS = "model", "dataset"
_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


class HubError(ValueError):
    """A repository that is not there, may not be read, or cannot be reached."""


class NoRevisionError(HubError):
    """A repository that is there, and has no such branch, tag or commit."""


def hub_name(spec: str | Path) -> str | None:
    """The repository `owner/name` that something is asked for by, without its revision; None: it names a folder.

    A local folder wins, and what would lie in a local folder that is there is taken for a path.
    """
    found = _ID.fullmatch(str(spec))
    return None if found is None or _is_local(spec) or found["name"].endswith(_ENDINGS) else found["name"]


def hub_file(spec: str | Path, endings: tuple[str, ...] = (".safetensors",)) -> tuple[str, str] | None:
    """Repository with its revision, and path in it, of `owner/name/FILE[@revision]`; None: it names a local path.

    Only what ends as one of these is such a file.
    """
    found = _FILE.fullmatch(str(spec))
    if found is None or not found["file"].endswith(endings) or _is_local(spec):
        return None
    return found["name"] + (found["revision"] or ""), found["file"]


def name_of_file(repository: str, file: str) -> str:
    """`owner/name/FILE[@revision]` of a file in `owner/name[@revision]`; see `hub_file`."""
    name, at, revision = repository.partition("@")
    return f"{name}/{file}{at}{revision}"


def glob_of(path: str) -> str:
    """A pattern that this path alone matches."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _is_local(spec: str | Path) -> bool:
    return expanded(spec).exists() or Path(Path(spec).parts[0]).is_dir()


def download(spec: str, patterns: Sequence[str], kind: str = MODELS) -> Path:
    """The folder in the hub's cache that holds the files of these patterns; what is missing there is fetched.

    Args:
      spec: `owner/name[@revision]`, a branch, a tag or a commit.
      patterns: of the files' paths.
      kind: of repository, MODELS or DATASETS.

    Raises:
      HubError: no such repository or revision, no leave to read it, or the hub cannot be reached.
    """
    # Here, for it takes half a second.
    from huggingface_hub import snapshot_download

    found = _ID.fullmatch(spec)
    with _telling(spec, found["name"], found["revision"] or "main"):
        return Path(
            snapshot_download(found["name"], repo_type=kind, revision=found["revision"], allow_patterns=list(patterns))
        )


def listing(spec: str, kind: str) -> list[str]:
    """Paths of all files of a repository, of those in the cache where HF_HUB_OFFLINE is set; HubError as `download`."""
    from huggingface_hub import HfApi, constants

    found = _ID.fullmatch(spec)
    if constants.HF_HUB_OFFLINE:
        folder = download(spec, [], kind)
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with _telling(spec, found["name"], found["revision"] or "main"):
        return HfApi().list_repo_files(found["name"], revision=found["revision"], repo_type=kind)


@contextlib.contextmanager
def _telling(spec: str, name: str, revision: str) -> Iterator[None]:
    """Turns what the client raises into one sentence."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{spec} is gated: accept its terms on its page, then log in by `hf auth login`, or set HF_TOKEN."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{spec} is neither a folder here nor a repository that {constants.ENDPOINT} shows you: mind the spelling, "
            "or, if it is private, log in by `hf auth login`, or set HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise NoRevisionError(f"{spec}: {name} is there, but has no revision {revision}.") from error
    except errors.HFValidationError as error:
        raise HubError(f"{spec} is neither a folder here nor a name that repositories of the hub have.") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(f"{spec} is no folder here; for the hub, {_why_not_there(error.__cause__)}.") from error
    except (errors.HTTPError, OSError, RuntimeError) as error:
        # Of this machine's own, as a disk that is full.
        if getattr(error, "errno", None) is not None:
            raise
        raise HubError(
            f"{spec} could not be fetched from {constants.ENDPOINT} ({type(error).__name__}): try again; the files "
            "that have come whole are kept."
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
