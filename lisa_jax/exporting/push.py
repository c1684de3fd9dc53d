"""Exported folders to a repository of the Hugging Face hub, through its own client."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from lisa_jax.checkpoints.config_files import CONFIG_FILE
from lisa_jax.exporting.model_card import CARD, PICTURE


def check_repository(name: str) -> None:
    """Raise ValueError where no repository of the hub can be called so: they are owner/name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"--push_to={name}: no repository of the hub can be called so; give owner/name.") from error
    if "/" not in name:
        raise ValueError(f"--push_to={name}: whose repository? Give owner/name.")


def push(
    folders: Mapping[str, Path], repository: str, private: bool, weights: str | None, module: str | None = None
) -> str:
    """Upload exported folders into a repository, which is made where it is missing.

    Args:
      folders: side network -> folder; the only one is the repository itself, several have a folder each in it.
      repository: `owner/name`.
      private: of a repository that is made now; one that is there stays as it is.
      weights: file of each folder; None: they were exported in the original layout. Whatever else lies in the folders
        stays here, as what an earlier export in the other layout left.
      module: PyTorch file of each folder; None: they have none.

    Returns:
      The address of the repository.
    Raises:
      ValueError: no leave to write there, a model card that the hub refuses, or a hub that cannot be reached.
    """
    # Here, for it takes half a second.
    from huggingface_hub import HfApi, constants, errors

    api = HfApi(library_name="lisa_jax")
    kept = f"the export itself is kept in {', '.join(map(str, folders.values()))}"
    try:
        # Asked once and with a limit of time: the client would wait for ever for a hub that does not answer.
        with contextlib.suppress(errors.RepositoryNotFoundError):
            api.repo_info(repository, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        url = api.create_repo(repository, private=private, exist_ok=True)
        for name, folder in folders.items():
            network = [f"{name}.safetensors"] if weights is None else [CONFIG_FILE, weights]
            api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                path_in_repo=None if len(folders) == 1 else name,
                allow_patterns=[CARD, PICTURE, *network, *([] if module is None else [module])],
                commit_message=f"Upload {name} by lisa_jax",
            )
    except errors.OfflineModeIsEnabled as error:
        raise ValueError(f"{repository} was not pushed, for HF_HUB_OFFLINE is set: unset it; {kept}.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ValueError(
                f"{repository} was not pushed: {constants.ENDPOINT} does not let you write there ({status}); log in by "
                f"`hf auth login`, or set HF_TOKEN, with a token that may write; {kept}."
            ) from error
        told = error.server_message or f"status {status}"
        raise ValueError(f"{repository} was not pushed: {constants.ENDPOINT} says {_line(told)!r}; {kept}.") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{repository} was not pushed: {constants.ENDPOINT} does not answer as a hub does: try again, or mind "
            f"HF_ENDPOINT; {kept}."
        ) from error
    # The transfer of a large file.
    except RuntimeError as error:
        told = f"{_line(error)} {_line(error.__cause__ or '')}".strip()
        raise ValueError(f"{repository} was not pushed to {constants.ENDPOINT}: {told}; {kept}.") from error
    # A connection that fails; and the client's word for a card's front matter that the hub does not take, as a licence
    # that it does not know.
    except (errors.HTTPError, OSError, ValueError) as error:
        raise ValueError(f"{repository} was not pushed to {constants.ENDPOINT}: {_line(error)}; {kept}.") from error
    return str(url)


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]
