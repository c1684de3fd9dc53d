"""Vocabularies, merges and special tokens that are none, or do not fit each other."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right

VOCABULARY, MERGES = "vocab.json", "merges.txt"
# (vocabulary, one of its tokens) -> what stands in its place.
VOCABULARIES: dict[str, Callable[[dict[str, int], str], Any]] = {
    "an id twice": lambda vocabulary, token: vocabulary | {token: 0, "another": 0},
    "a negative id": lambda vocabulary, token: vocabulary | {token: -1},
    "a huge id": lambda vocabulary, token: vocabulary | {token: 10**12},
    "a larger id than there are embeddings": lambda vocabulary, token: vocabulary | {token: 10**5},
    "a word for an id": lambda vocabulary, token: vocabulary | {token: "3"},
    "a fraction for an id": lambda vocabulary, token: vocabulary | {token: 0.5},
    "null for an id": lambda vocabulary, token: vocabulary | {token: None},
    "an object for an id": lambda vocabulary, token: vocabulary | {token: {}},
    "no end": lambda vocabulary, token: {word: id for word, id in vocabulary.items() if "endoftext" not in word},
    "nothing": lambda vocabulary, token: {},
    "a list": lambda vocabulary, token: list(vocabulary),
    "another vocabulary": lambda vocabulary, token: {f"token {id}": id for id in vocabulary.values()},
}
LINES = ("a", "a b c", "", "#version: 0.2", "nowhere at", "\0 \0", "a " + "b" * 10**6, " ", "\ufeffa b", "a\tb")


def vocabulary(rng: random.Random, base: Path) -> Mutation:
    """A vocabulary that is none; what of it is never looked up does no harm."""
    path = base / "tokenizer" / VOCABULARY
    found = json.loads(path.read_text())
    how, token = rng.choice(list(VOCABULARIES)), rng.choice(sorted(found))
    path.write_text(json.dumps(VOCABULARIES[how](found, token)))
    return Mutation(f"{VOCABULARY}: {how} ({token!r})", Right.EITHER, (VOCABULARY, MERGES, "tokenizer"))


def merges(rng: random.Random, base: Path) -> Mutation:
    """A line of the merges that is none."""
    path = base / "tokenizer" / MERGES
    lines, added = path.read_text(encoding="utf-8").splitlines(), rng.choice(LINES)
    lines.insert(rng.randrange(1, len(lines)), added)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Mutation(f"{MERGES}: a line {added[:20]!r}", Right.EITHER, (MERGES, "tokenizer"))


def special(rng: random.Random, base: Path) -> Mutation:
    """Special tokens that are none; words may be any."""
    path = base / "tokenizer" / "special_tokens_map.json"
    name, value = damage.field_of(rng, path)
    right = Right.ANY if isinstance(value, (str, dict)) else Right.EITHER
    return Mutation(f"{path.name}: {name} = {value!r}", right, (name, path.name))


def added(rng: random.Random, base: Path) -> Mutation:
    """Tokens that were added, or are none."""
    path = base / "tokenizer" / "added_tokens.json"
    content = rng.choice([{"<cat>": 5}, {"<cat>": -1}, {"<cat>": 10**12}, {"<cat>": "x"}, ["<cat>"], {"": 3}, 3, None])
    path.write_text(json.dumps(content))
    return Mutation(f"{path.name}: {content}", Right.EITHER, (path.name, "tokenizer"))


KINDS: Kinds = {vocabulary: 6, merges: 5, special: 4, added: 3}
