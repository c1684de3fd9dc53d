"""Repositories of the Hugging Face hub, `owner/name[@revision]`, through its own client and cache.

The client reads its usual variables: HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, HF_HUB_DISABLE_PROGRESS_BARS.
"""

import contextlib
import functools
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from lisa_jax.files.home import expanded
from lisa_jax.files.hub_errors import Asked, is_final, telling, why_not

_LOG = logging.getLogger("lisa_jax")
# A file of weights in a repository; no sign of a pattern, and no way out of it.
_FILE = re.compile(
    r"(?P<name>\w[\w.-]*/\w[\w.-]*)/(?P<file>(?:\w[\w.-]*/)*\w[\w.-]*)(?P<revision>@[\w./-]+)?", re.ASCII
)
# What is called so is a file, if a missing one, and no repository.
_ENDINGS = (".safetensors", ".parquet", ".tar", ".jsonl", ".csv")
MODELS, DATASETS = "model", "dataset"
_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")


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


def at_commit(spec: str, folder: Path) -> str:
    """`owner/name@commit` of a repository's folder in the cache, see `download`: the same files for ever."""
    return f"{_ID.fullmatch(spec)['name']}@{folder.name}"


def download(spec: str, patterns: Sequence[str], kind: str = MODELS) -> Path:
    """The folder in the hub's cache that holds the files of these patterns; what is missing there is fetched.

    Where the hub cannot be asked, it is what the cache has, if that is all of them, and this is said. At a commit
    that is whole in the cache nothing is asked.

    Args:
      spec: `owner/name[@revision]`, a branch, a tag or a commit.
      patterns: of the files' paths.
      kind: of repository, MODELS or DATASETS.

    Returns:
      A folder with the commit's name.
    Raises:
      HubError: no such repository or revision, no leave to read it, or a hub that cannot be reached and a cache that
        lacks some of it.
    """
    # Here, for it takes half a second.
    from huggingface_hub import constants, errors, snapshot_download

    found = _ID.fullmatch(spec)
    name, revision = found["name"], found["revision"] or constants.DEFAULT_REVISION
    fetch = functools.partial(snapshot_download, name, repo_type=kind, revision=revision, allow_patterns=list(patterns))
    is_commit = _COMMIT.fullmatch(revision) is not None
    # Commits are mostly ours, of an earlier call: what a user has given is told.
    with telling(Asked(name if is_commit else spec, name, revision, kind, tuple(patterns))):
        if constants.HF_HUB_OFFLINE:
            return Path(fetch(local_files_only=True))
        if is_commit and _is_listed(name, revision, kind):
            with contextlib.suppress(errors.LocalEntryNotFoundError):
                return Path(fetch(local_files_only=True))
        refusal = _refusal(name, revision, kind)
        if refusal is None:
            return Path(fetch())
        # What was fetched by leave of a base stays of use, as everywhere with this client; rows are what is there now.
        if is_final(refusal) and kind == DATASETS:
            raise refusal
        try:
            folder = Path(fetch(local_files_only=True))
        except errors.LocalEntryNotFoundError as error:
            if is_final(refusal):
                raise refusal from error
            raise error from refusal
    _say_once(f"{spec}: {why_not(refusal)}; what is in the cache is used, commit {folder.name}.")
    return folder


def listing(spec: str, folder: Path, kind: str) -> list[str]:
    """Paths of all files that a repository has at the commit of a folder in the cache, see `download`.

    Where a cache does not know them, as an old one, of those that are in it, which is said.
    """
    name = _ID.fullmatch(spec)["name"]
    if _is_listed(name, folder.name, kind):
        from huggingface_hub import get_cached_repo_tree

        return sorted(file.path for file in get_cached_repo_tree(name, repo_type=kind, revision=folder.name))
    _LOG.warning("%s: the cache does not say what else there is: what is in it is taken for the whole.", spec)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_listed(name: str, commit: str, kind: str) -> bool:
    """Whether the cache knows which files a repository has."""
    from huggingface_hub import errors, get_cached_repo_tree

    try:
        get_cached_repo_tree(name, repo_type=kind, revision=commit)
    except errors.CachedRepoTreeNotFoundError:
        return False
    return True


@functools.cache
def _say_once(line: str) -> None:
    """In a process: a command may open a base several times."""
    _LOG.warning(line)


def _refusal(name: str, revision: str, kind: str) -> Exception | None:
    """Why the hub does not show a repository; None: it does.

    Asked once and with a limit of time: the client itself would wait for ever, or try for half a minute.
    """
    from huggingface_hub import HfApi, constants, errors

    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except errors.RevisionNotFoundError:
        raise
    except (errors.HTTPError, json.JSONDecodeError) as error:
        return error
    return None
