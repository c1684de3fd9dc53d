"""What the files of all tokenizers share, checked: settings, special tokens and how they are matched."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.models.config_fields import shown

# CLIP's and T5's files have 0.5 to 3.6 MB.
LARGEST_FILE = 2**25

_MATCHING = ("lstrip", "rstrip", "single_word", "normalized")


def read_settings(checkpoint: Checkpoint, component: str, classes: Sequence[str], kind: str) -> dict[str, Any]:
    """The fields of `tokenizer_config.json`, {} where there is none.

    Args:
      checkpoint: where it is.
      component: the tokenizer's name there.
      classes: of transformers, that are supported.
      kind: of tokenizer, for messages.

    Raises:
      CheckpointError: another class, or a side other than the right, by field and value.
    """
    settings = optional_json(checkpoint, component, "tokenizer_config.json")
    for field, supported in (
        ("tokenizer_class", (None, *classes)),
        ("padding_side", (None, "right")),
        ("truncation_side", (None, "right")),
    ):
        if settings.get(field) not in supported:
            raise CheckpointError(
                f"{checkpoint.where(component)}: {field} {shown(settings[field])} is not supported: give a {kind} "
                "tokenizer that pads and truncates on the right."
            )
    return settings


def optional_json(checkpoint: Checkpoint, component: str, name: str) -> dict[str, Any]:
    """The fields of a JSON file, {} where there is none."""
    # A link that leads nowhere, or to a device, is no file that was left out.
    there = os.path.lexists(checkpoint.where(component, name))
    return read_json(checkpoint, component, name) if there else {}


def read_json(checkpoint: Checkpoint, component: str, name: str) -> dict[str, Any]:
    """The fields of a JSON file; raises CheckpointError for one that is missing, broken or far too large."""
    path = checkpoint.file(component, name)
    if path is not None and path.stat().st_size > LARGEST_FILE:
        raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes, which no tokenizer of captions needs.")
    return checkpoint.config(component, name)


def added_tokens(contents: Mapping[str, Any], where: str) -> dict[int, str | Mapping]:
    """The special tokens that a `tokenizer.json` lists, by id."""
    added = contents.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, Mapping) for token in added):
        raise CheckpointError(f"{where}: added_tokens {shown(added)} is no list of tokens.")
    return listed_tokens({str(token.get("id")): token for token in added}, f"{where}: added_tokens")


def listed_tokens(tokens: Any, where: str) -> dict[int, str | Mapping]:
    """Special tokens by id, in the order of the ids."""
    if not isinstance(tokens, Mapping) or not all(re.fullmatch(r"\d{1,9}", index) for index in tokens):
        raise CheckpointError(f"{where} {shown(tokens)} is no list of ids and their tokens.")
    for token in tokens.values():
        check_token(token, where)
    return {int(index): tokens[index] for index in sorted(tokens, key=int)}


def check_token(token: Any, where: str) -> None:
    """A special token is a string, or a mapping that says how it is matched."""
    matching = [token[name] for name in _MATCHING if name in token] if isinstance(token, Mapping) else []
    content = content_of(token)
    if not isinstance(content, str) or not content or not all(isinstance(value, bool) for value in matching):
        raise CheckpointError(f"{where}: {shown(token)} is no special token.")


def content_of(token: Any) -> Any:
    """What a special token stands for in a caption."""
    return token.get("content") if isinstance(token, Mapping) else token


def added_token(token: str | Mapping) -> AddedToken:
    """A special token as written in JSON: a string, or a mapping that says how it is matched."""
    matching = {name: token[name] for name in _MATCHING if name in token} if isinstance(token, Mapping) else {}
    return AddedToken(content_of(token), special=True, **matching)
