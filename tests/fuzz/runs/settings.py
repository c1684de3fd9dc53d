"""The config of a run: nonsense in fields, fields that are missing, damaged JSON, names that let somebody in."""

import json
import random
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right

FILE = "config.json"
# What the side network is, and how it is read: the other fields are of training, which is done.
READ = ("data", "condition", "lisa", "hook", "side", "base", "frozen_dtype", "compute_dtype", "condition_channels")
# Conditions that somebody else may have written into a config.
INTRUDERS = (
    *("intruder:picture", "antigravity:fly", "../../x", "a/b", "os:system", "x=intruder:picture", "", "a\nb"),
    *("lineart=intruder:picture", "/etc/passwd", "lineart,../x", "__class__"),
)


def field(rng: random.Random, run: Path) -> Mutation:
    """Nonsense in a field."""
    name, value = damage.field_of(rng, run / FILE, lambda name: name != "optimizer")
    right = Right.EITHER if name in READ else Right.ANY
    return Mutation(f"{FILE}: {name} = {value!r:.60}", right, (name, FILE))


def field_gone(rng: random.Random, run: Path) -> Mutation:
    """A field that is not there; earlier versions had fewer."""
    content = json.loads((run / FILE).read_text())
    name = rng.choice(sorted(content))
    del content[name]
    (run / FILE).write_text(json.dumps(content))
    return Mutation(f"{FILE} without {name}", Right.ANY, (name,))


def damaged(rng: random.Random, run: Path) -> Mutation:
    """A file that is damaged."""
    how = damage.json_of(rng, run / FILE)
    return Mutation(f"{FILE}: {how}", Right.REFUSED, (FILE,))


def intruder(rng: random.Random, run: Path) -> Mutation:
    """Somebody else's work directory, which names a module to import or a place to write to."""
    content = json.loads((run / FILE).read_text())
    content["data"]["condition"] = rng.choice(INTRUDERS)
    (run / FILE).write_text(json.dumps(content))
    (run.parent / "intruder.py").write_text("raise SystemExit('It was imported.')\n")
    condition = content["data"]["condition"]
    named = (condition or "condition", repr(condition)[1:-1], "condition", "lineart")
    return Mutation(f"{FILE}: the condition {condition!r}", Right.REFUSED, named)


KINDS: Kinds = {field: 20, field_gone: 5, damaged: 8, intruder: 4}
