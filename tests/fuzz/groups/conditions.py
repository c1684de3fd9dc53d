"""Condition pictures and listings of `sample`: of all modes, sizes and kinds, damaged or odd."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from fuzz import damage
from fuzz.case import Case, Mutation, Right, drawn
from fuzz.pictures import encoded, odd
from fuzz.world import QUICK_GRID, World

FLAGS = ("--num_steps=1", "--guidance_scale=1.5", QUICK_GRID)
PROMPT = "--prompt=a cat"
# A mutation, and the flags that give `sample` what was mutated.
Given = tuple[Mutation, tuple[str, ...]]


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A picture or a listing, and `sample` of the run with it."""
    kind = drawn(rng, KINDS)
    inputs.mkdir(parents=True, exist_ok=True)
    mutation, flags = kind(rng, inputs)
    out = inputs / "out"
    sample = ("sample", f"--workdir={world.run}", *FLAGS)
    given = (PROMPT, f"--condition={_whole(world.folder)}")
    valid = ("sample_whole", (*sample, *given, "--out={out}"))
    return Case.of(mutation, (*sample, *flags, f"--out={out}"), out, valid)


def _whole(folder: Path, name: str = "whole.png") -> Path:
    path = folder / name
    path.write_bytes(encoded(0))
    return path


def picture(rng: random.Random, folder: Path) -> Given:
    """A picture that is odd."""
    how, content, right = odd(rng)
    path = folder / rng.choice(["c.png", "c.jpg", "c", "c.gif"])
    path.write_bytes(content)
    return Mutation(f"{path.name} is {how}", right, (path.name,)), (PROMPT, f"--condition={path}")


def file(rng: random.Random, folder: Path) -> Given:
    """A picture's file that is damaged."""
    path = _whole(folder)
    how = damage.bytes_of(rng, path)
    return Mutation(f"{path.name}: {how}", Right.REFUSED, (path.name,)), (PROMPT, f"--condition={path}")


def place(rng: random.Random, folder: Path) -> Given:
    """A picture that is nowhere, or no file."""
    _whole(folder)
    name = rng.choice(["gone.png", "", ".", "/dev/zero", "/etc/passwd", "whole.png/x", "a" * 300, "~/gone.png", "\n"])
    at = name if name.startswith(("/", "~")) or not name else f"{folder}/{name}"
    return Mutation(f"a picture at {name[:60]!r}", Right.REFUSED, ("condition",)), (PROMPT, f"--condition={at}")


ODD = ("a[1].png", "a*.png", "a,b.png", "ä 猫.png", "a\nb.png", "a=b.png", "-.png", "a%d.png")


def odd_name(rng: random.Random, folder: Path) -> Given:
    """A whole picture with an odd name."""
    path = _whole(folder, rng.choice(ODD))
    return Mutation(f"a picture called {path.name!r}", Right.SAME, ()), (PROMPT, f"--condition={path}")


PROMPTS = ("", " ", "a" * 100_000, "猫", "<|endoftext|>", "\x01", "a\nb", "\u200b", "🐈" * 500, "%s{}")


def prompt(rng: random.Random, folder: Path) -> Given:
    """A prompt that is odd."""
    text = rng.choice(PROMPTS)
    flags = (f"--prompt={text}", f"--condition={_whole(folder)}")
    return Mutation(f"the prompt {text[:20]!r}", Right.ANY, ("prompt",)), flags


def counts(rng: random.Random, folder: Path) -> Given:
    """Not as many prompts as conditions."""
    condition = f"--condition={_whole(folder)}"
    flags = rng.choice([(PROMPT,), (condition,), (PROMPT, PROMPT, condition), (PROMPT, f"{condition},{condition}")])
    return Mutation(f"{len(flags)} of prompts and conditions", Right.REFUSED, ("--prompt", "--condition")), flags


ROW = {"prompt": "a cat", "condition": "whole.png"}
# What a listing is with these written anew, and as JSON.
WHOLE_LISTINGS = {
    "whole": lambda text: text,
    "a BOM": lambda text: "\ufeff" + text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "blank lines": lambda text: "\n\n" + text,
}
ROWS = {
    "no prompt": {"condition": "whole.png"},
    "no condition": {"prompt": "a"},
    "a number": ROW | {"prompt": 3},
    "null": ROW | {"condition": None},
    "an unknown field": ROW | {"x": 1},
    "a list": [ROW],
    "3": 3,
    "a negative prompt of 3": ROW | {"negative_prompt": 3},
    "a surrogate": ROW | {"prompt": "\ud800"},
    "NUL": ROW | {"condition": "a\0b"},
    "a device": ROW | {"condition": "/dev/zero"},
    "a folder": ROW | {"condition": "."},
    "gone": ROW | {"condition": "gone.png"},
}


def listing(rng: random.Random, folder: Path) -> Given:
    """A listing of one row."""
    _whole(folder)
    what = rng.choice([*WHOLE_LISTINGS, *ROWS, "no row"])
    text = "" if what == "no row" else json.dumps(ROWS.get(what, ROW)) + "\n"
    path = folder / "listing.jsonl"
    path.write_bytes(WHOLE_LISTINGS.get(what, WHOLE_LISTINGS["whole"])(text).encode())
    right = Right.SAME if what in WHOLE_LISTINGS else Right.REFUSED
    return Mutation(f"{path.name}: {what}", right, (path.name,)), (f"--listing={path}",)


def listing_file(rng: random.Random, folder: Path) -> Given:
    """A listing that is damaged."""
    _whole(folder)
    path = folder / rng.choice(["listing.jsonl", "listing.csv"])
    path.write_text(TABLES["whole"] if path.suffix == ".csv" else json.dumps(ROW) + "\n")
    how = (damage.json_of if path.suffix == ".jsonl" else damage.bytes_of)(rng, path)
    return Mutation(f"{path.name}: {how}", Right.REFUSED, (path.name,)), (f"--listing={path}",)


TABLES = {
    "whole": "prompt,condition\na cat,whole.png\n",
    "CRLF": "prompt,condition\r\na cat,whole.png\r\n",
    "a BOM": "\ufeffprompt,condition\na cat,whole.png\n",
    "semicolons": "prompt;condition\na cat;whole.png\n",
    "a cell too many": "prompt,condition\na cat,whole.png,x\n",
    "a cell too few": "prompt,condition\na cat\n",
    "a field of 200 kB": f'prompt,condition\n"{"a" * 200_000}",whole.png\n',
    "a quote that is open": 'prompt,condition\n"a cat,whole.png\n',
    "no header": "a cat,whole.png\n",
    "a header twice": "prompt,condition,prompt\na cat,whole.png,b\n",
}


def table(rng: random.Random, folder: Path) -> Given:
    """A listing as CSV."""
    _whole(folder)
    what = rng.choice(list(TABLES))
    path = folder / "listing.csv"
    path.write_bytes(TABLES[what].encode())
    right = {"whole": Right.SAME, "CRLF": Right.SAME, "a BOM": Right.SAME, "a field of 200 kB": Right.ANY}
    # As spreadsheets write a table in some languages.
    right["semicolons"] = Right.EITHER
    return Mutation(f"{path.name}: {what}", right.get(what, Right.REFUSED), (path.name,)), (f"--listing={path}",)


KINDS: dict[Callable[[random.Random, Path], Given], int] = {
    picture: 30,
    file: 10,
    place: 8,
    odd_name: 8,
    prompt: 6,
    counts: 3,
    listing: 18,
    listing_file: 8,
    table: 10,
}
