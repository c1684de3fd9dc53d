"""A case: a command line on a mutated input, and what is right for it; and the verdict on what it did."""

import dataclasses
import enum
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from fuzz.machine import LIMITS, NOTHING_SPECIAL, Outcome, Surroundings

Command = tuple[str, ...]
# A name, and the commands whose last one writes what is right to `{out}`.
Valid = tuple[str, *tuple[Command, ...]]


class Right(enum.Enum):
    """What a case may end with."""

    REFUSED = "a sentence with the name"
    SAME = "the valid input's result"
    EITHER = "a sentence with the name, or the valid input's result"
    ANY = "a sentence with the name, or any result"


class Mutation(NamedTuple):
    """What was done to an input: in words, what is right for it, and the names of which a sentence holds one."""

    what: str
    right: Right
    named: tuple[str, ...]


# Ways to mutate an input that is in a folder, and how often each is taken.
Kinds = Mapping[Callable[[random.Random, Path], Mutation], int]


def drawn(rng: random.Random, kinds: Mapping) -> Callable:
    """One of them."""
    return rng.choices(list(kinds), weights=list(kinds.values()))[0]


@dataclasses.dataclass(frozen=True)
class Case:
    """Commands on a mutated input.

    Attributes:
      what: was done to the input, in words.
      commands: run one after the other, until one is refused.
      right: what they may end with.
      named: of these, a sentence holds one.
      told: warnings with one of these make any result right.
      result: what the last command writes, where that is compared.
      valid: the commands on valid inputs whose result it must be then.
      surroundings: of the commands.
    """

    what: str
    commands: tuple[Command, ...]
    right: Right
    named: tuple[str, ...]
    told: tuple[str, ...] = ()
    result: Path | None = None
    valid: Valid | None = None
    surroundings: Surroundings = NOTHING_SPECIAL

    @staticmethod
    def of(mutation: Mutation, command: Command, result: Path | None, valid: Valid | None = None) -> "Case":
        """A case of one command."""
        return Case(mutation.what, (command,), mutation.right, mutation.named, result=result, valid=valid)


class Verdict(enum.Enum):
    """How a case ended; all but the first are faults."""

    GOOD = "good"
    TRACEBACK = "traceback"
    UNNAMED = "unnamed sentence"
    ACCEPTED = "wrong acceptance"
    REFUSED = "wrong refusal"
    HANG = "hang"
    MEMORY = "memory"
    LEFT = "half-written"


# How absl tells a flag that it refuses.
_SENTENCE = re.compile(r"^(?:error: |FATAL Flags parsing error:)", re.MULTILINE)
_TRACEBACK = re.compile(r"^(?:Traceback \(most recent call last\)|Exception ignored|Fatal Python error)", re.MULTILINE)


def verdict(case: Case, outcome: Outcome, digest_of: Callable[..., str | None]) -> Verdict:
    """Judge the last outcome of a case; `digest_of` gives the digest of valid commands' result."""
    if outcome.ended == "hang":
        return Verdict.HANG
    if outcome.ended == "memory" or outcome.peak > LIMITS["bytes"]:
        return Verdict.MEMORY
    if _TRACEBACK.search(outcome.stderr) or outcome.returncode < 0:
        return Verdict.TRACEBACK
    if outcome.returncode == 0:
        return _of_result(case, outcome, digest_of)
    return _of_refusal(case, outcome)


def _of_result(case: Case, outcome: Outcome, digest_of: Callable[..., str | None]) -> Verdict:
    if case.right is Right.ANY or any(word in outcome.stderr for word in case.told):
        return Verdict.GOOD
    if case.right is Right.REFUSED:
        return Verdict.ACCEPTED
    same = digest(case.result) == digest_of(*case.valid)
    return Verdict.GOOD if same else Verdict.ACCEPTED


def _of_refusal(case: Case, outcome: Outcome) -> Verdict:
    if case.right is Right.SAME:
        return Verdict.REFUSED
    sentences = _SENTENCE.split(outcome.stderr)[1:]
    if len(sentences) != 1 or not any(name in sentences[0] for name in case.named):
        return Verdict.UNNAMED
    # A run's work directory, and the samples that are there, are continued.
    whole = case.result is not None and case.commands[-1][0] in ("prepare", "export")
    left = whole and case.result.is_dir() and digest(case.result) is not None
    return Verdict.LEFT if left else Verdict.GOOD


def digest(result: Path) -> str | None:
    """Hash of what counts of a result, whatever its folder is called; None where there is none of it."""
    found = hashlib.sha256()
    files = [result] if result.is_file() else sorted(path for path in result.rglob("*") if path.is_file())
    counted = {path: path.read_bytes() if path == result else _counted(path) for path in files}
    if not any(content is not None for content in counted.values()):
        return None
    for path, content in counted.items():
        if content is not None:
            found.update(path.relative_to(result).as_posix().encode() + b"\0" + content + b"\0")
    return found.hexdigest()


def _counted(path: Path) -> bytes | None:
    """What of a file's content the same inputs give again."""
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return json.dumps([_without(line, "images_per_second") for line in lines]).encode()
    counts = path.suffix in (".png", ".safetensors") or ".array_record" in path.name
    # A grid's labels are the networks' names.
    is_other = path.name == "grid.png" or "previews" in path.parts
    return path.read_bytes() if counts and not is_other else None


def _without(fields: Mapping, name: str) -> dict:
    return {key: value for key, value in fields.items() if key != name}
