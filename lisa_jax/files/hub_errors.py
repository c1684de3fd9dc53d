"""What the client of the Hugging Face hub raises, in one sentence each that says what to do."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lisa_jax.parallel.messages import one_line

# Of those that a user is told of.
_FILES_TOLD = 3
# "Too slow" and "too many": they pass, as the hub's own faults (5xx) do.
_PASSING = (408, 429)


class HubError(ValueError):
    """A repository that is not there, may not be read, or cannot be reached."""


class NoRevisionError(HubError):
    """A repository that is there, and has no such branch, tag or commit."""


class Asked(NamedTuple):
    """What the hub is asked for.

    Attributes:
      spec: what it is called in an error, `owner/name[@revision]`.
      name: its `owner/name`.
      revision: its branch, tag or commit, or the branch that stands for none.
      kind: of repository.
      patterns: of the files' paths.
    """

    spec: str
    name: str
    revision: str
    kind: str
    patterns: tuple[str, ...]


def is_final(error: Exception) -> bool:
    """Whether the hub has answered that it does not show something, and would do so again."""
    status = _status(error)
    return status is not None and status < 500 and status not in _PASSING


def why_not(error: BaseException | None) -> str:
    """Why the hub did not give something, a clause without its end."""
    from huggingface_hub import constants

    status = _status(error)
    if status is not None:
        return f"{constants.ENDPOINT} answers with status {status}{_said(error)}"
    # A page, as of a hotel's network.
    if isinstance(error, json.JSONDecodeError):
        return f"{constants.ENDPOINT} does not answer as a hub does"
    reason = one_line(error or "", 200) or type(error).__name__
    return f"{constants.ENDPOINT} cannot be reached ({reason})"


@contextlib.contextmanager
def telling(asked: Asked) -> Iterator[None]:
    """Turns what the client raises into a HubError of one sentence."""
    from huggingface_hub import constants, errors

    spec = asked.spec
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
        raise NoRevisionError(f"{spec}: {asked.name} is there, but has no revision {asked.revision}.") from error
    except errors.HFValidationError as error:
        raise HubError(f"{spec} is neither a folder here nor a name that repositories of the hub have.") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(_not_there(asked, error.__cause__, _lacking(asked, error))) from error
    except (errors.HfHubHTTPError, json.JSONDecodeError) as error:
        raise HubError(_not_there(asked, error, "the files that have come whole are kept")) from error
    except (errors.HTTPError, OSError, RuntimeError) as error:
        # Of this machine's own, as a disk that is full.
        if getattr(error, "errno", None) is not None:
            raise
        raise HubError(
            f"{spec} could not be fetched from {constants.ENDPOINT} ({type(error).__name__}): try again; the files "
            "that have come whole are kept."
        ) from error


def _not_there(asked: Asked, cause: BaseException | None, kept: str) -> str:
    """Why the client found something neither at the hub nor in its cache, and what to do.

    Args:
      asked: what.
      cause: what the hub answered, or why it did not; of no use where the client may not ask it.
      kept: what is to say of the cache.
    """
    from huggingface_hub import constants

    status = _status(cause)
    if constants.HF_HUB_OFFLINE:
        why = f"HF_HUB_OFFLINE is set, and {kept}: fetch it once without"
    elif status in (401, 403):
        why = (
            f"{constants.ENDPOINT} refuses it (status {status}{_said(cause)}): log in by `hf auth login`, or set "
            "HF_TOKEN to one that may read it"
        )
    elif cause is not None and is_final(cause):
        why = f"{why_not(cause)}: mind HF_ENDPOINT, or give a folder"
    elif isinstance(cause, json.JSONDecodeError):
        why = (
            f"{why_not(cause)}, and {kept}: mind HF_ENDPOINT, or log in to this network, where that takes a page in a "
            "browser"
        )
    else:
        why = f"{why_not(cause)}, and {kept}: try again, set HF_ENDPOINT to a mirror, or give a folder"
    return f"{asked.spec} is no folder here; for the hub, {why}."


def _lacking(asked: Asked, error: Exception) -> str:
    """What the cache has not, by name where it knows what there is."""
    from huggingface_hub import errors, get_cached_repo_tree
    from huggingface_hub.utils import filter_repo_objects

    if not isinstance(error, errors.IncompleteSnapshotError):
        return "it is not in the cache"
    folder = Path(error.snapshot_path)
    tree = get_cached_repo_tree(asked.name, repo_type=asked.kind, revision=folder.name)
    wanted = filter_repo_objects((file.path for file in tree), allow_patterns=list(asked.patterns))
    lacking = [path for path in wanted if not (folder / path).is_file()]
    more = f" and {len(lacking) - _FILES_TOLD} more" if len(lacking) > _FILES_TOLD else ""
    return f"the cache lacks {', '.join(lacking[:_FILES_TOLD])}{more}"


def _said(error: BaseException) -> str:
    """What the hub has answered beside the status."""
    message = getattr(error, "server_message", None)
    return f", {one_line(message, 200)!r}" if message else ""


def _status(error: BaseException | None) -> int | None:
    """The status of an answer that an error is of."""
    return getattr(getattr(error, "response", None), "status_code", None)
