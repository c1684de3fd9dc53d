"""What --help prints: a command's manual and flags and, behind --config, the fields of that config."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lisa_jax.commands._field_comments import field_comments

_HELP = ("--help", "-help", "-?", "--helpshort", "-helpshort")


def without_help(argv: Sequence[str]) -> list[str]:
    """The command line without the words before `--` that ask for help."""
    words = list(itertools.takewhile(lambda word: word != "--", argv))
    return [word for word in words if word not in _HELP] + list(argv[len(words) :])


def fields_help(config: ConfigDict) -> str:
    """A config's fields as flags: `--config.field=value`, with what they mean where configs/base.py says it."""
    comments = field_comments()
    lines = ["fields of the config:"]
    for name, value in _leaves(config):
        lines.append(f"  --config.{name}={'(unset)' if value is None else value}")
        # A study has a config of `train` among its fields.
        if comment := comments.get(name.removeprefix("training.")):
            lines.append(flags.text_wrap(comment, indent="    "))
    return "\n".join(lines)


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
