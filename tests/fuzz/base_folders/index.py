"""Weights in several files, and an index of them that is not so."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import damage
from fuzz.base_folders import tensors
from fuzz.base_folders.files import WEIGHTS
from fuzz.case import Kinds, Mutation, Right

FILES = ("1.safetensors", "2.safetensors")
# (what the index says, name of a tensor) -> what it says now.
CHANGES: dict[str, Callable[[dict[str, str], str], Any]] = {
    "whole": lambda files, name: {"metadata": {}, "weight_map": files},
    "a file that is gone": lambda files, name: {"weight_map": files | {name: "3.safetensors"}},
    "a file outside": lambda files, name: {"weight_map": files | {name: "../../outside.safetensors"}},
    "a device": lambda files, name: {"weight_map": files | {name: "/dev/zero"}},
    "a number": lambda files, name: {"weight_map": files | {name: 3}},
    "null": lambda files, name: {"weight_map": files | {name: None}},
    "no map": lambda files, name: {"metadata": {}},
    "a list": lambda files, name: {"weight_map": list(files)},
    "an empty map": lambda files, name: {"weight_map": {}},
    "nested": lambda files, name: {"weight_map": {"weight_map": files}},
}


def index(rng: random.Random, base: Path) -> Mutation:
    """The UNet in two files."""
    path = base / "unet" / WEIGHTS
    found = tensors.read(path)
    path.unlink()
    names = sorted(found)
    files = {name: FILES[number * len(FILES) // len(names)] for number, name in enumerate(names)}
    for file in FILES:
        tensors.write(path.with_name(file), {name: found[name] for name in names if files[name] == file})
    tensors.write(base.with_name("outside.safetensors"), {names[0]: found[names[0]]})
    name, how = rng.choice(names), rng.choice([*CHANGES, "damaged"])
    written = path.with_name(f"{WEIGHTS}.index.json")
    written.write_text(json.dumps(CHANGES.get(how, CHANGES["whole"])(files, name)))
    if how == "damaged":
        how = damage.json_of(rng, written)
    named = (written.name, name, "3.safetensors", "outside.safetensors", "/dev/zero")
    return Mutation(f"the index: {how} ({name})", Right.SAME if how == "whole" else Right.REFUSED, named)


def part(rng: random.Random, base: Path) -> Mutation:
    """One of the files is damaged."""
    index(random.Random(0), base)
    content = base / "unet" / f"{WEIGHTS}.index.json"
    names = sorted(name for file in FILES for name in tensors.read(base / "unet" / file))
    content.write_text(json.dumps({"weight_map": dict.fromkeys(names, FILES[0])}))
    path = base / "unet" / rng.choice(FILES)
    how = damage.bytes_of(rng, path)
    # The first holds what the second should.
    return Mutation(f"unet/{path.name}: {how}", Right.REFUSED, (path.name, content.name, *names))


KINDS: Kinds = {index: 8, part: 2}
