"""Prepared data sets: fields of `lisa_jax.json`, damaged, swapped and missing shards, files that are of another set."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz import damage
from fuzz.case import Case, Command, Kinds, Mutation, Right, drawn
from fuzz.world import World, copied, train_command

METADATA = "lisa_jax.json"
# What the set was made from and how: for people, and for `prepare` itself.
TOLD = (
    "settings",
    "skipped",
    "conditions",
    "test_fraction",
    "chunk_rows",
    "pose",
    "source",
    "cache",
    "min_size",
    "nearest",
)


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A prepared data set that was mutated, and `train` on it."""
    kind = drawn(rng, KINDS)
    data, out = copied(world.prepared, inputs / "data"), inputs / "out"
    mutation = kind(rng, data)
    valid = ("train_prepared", train(world, world.prepared, "{out}"))
    return Case.of(mutation, train(world, data, str(out)), out, valid)


def train(world: World, data: Path, workdir: str) -> Command:
    """So many steps on a prepared data set that every example is read."""
    fields = {"data.dir": data, "num_steps": 2, "accumulate": 1, "sampling.guidance_scale": 2.0}
    fields |= {"frozen_dtype": "float32", "compute_dtype": "float32"}
    return train_command(world.base, workdir, "sd21_lisa.py:pose,smoke", **fields)


def _changed(data: Path, change: Callable[[dict], Any]) -> Any:
    content = json.loads((data / METADATA).read_text())
    found = change(content)
    (data / METADATA).write_text(json.dumps(content))
    return found


def field(rng: random.Random, data: Path) -> Mutation:
    """Nonsense in a field."""
    name, value = damage.field_of(rng, data / METADATA)
    right = Right.ANY if name in TOLD else Right.EITHER
    return Mutation(f"{METADATA}: {name} = {value!r:.60}", right, (name, METADATA))


def field_gone(rng: random.Random, data: Path) -> Mutation:
    """A field that is not there."""
    name = rng.choice(sorted(json.loads((data / METADATA).read_text())))
    _changed(data, lambda content: content.pop(name))
    return Mutation(f"{METADATA} without {name}", Right.EITHER, (METADATA, name))


def field_more(rng: random.Random, data: Path) -> Mutation:
    """A field that nobody knows."""

    def add(content: dict) -> None:
        places = [content, content["features"]["image"], content["splits"]["train"][0], content["features"]]
        rng.choice(places)["more"] = rng.choice(damage.NONSENSE)

    _changed(data, add)
    return Mutation(f"{METADATA} with a field more", Right.EITHER, (METADATA, "more"))


def metadata(rng: random.Random, data: Path) -> Mutation:
    """Metadata that are damaged."""
    how = damage.json_of(rng, data / METADATA)
    return Mutation(f"{METADATA}: {how}", Right.REFUSED, (METADATA,))


# What the splits say that is not so; of the training split's shards, unless they say another.
SPLITS: dict[str, Callable[[dict], Any]] = {
    "no shard": lambda splits: splits.update(train=[]),
    "no train": lambda splits: splits.pop("train"),
    "no test": lambda splits: splits.update(test=[]),
    "a shard twice": lambda splits: splits["train"].append(splits["train"][0]),
    "other order": lambda splits: splits["train"].reverse(),
    "more runs": lambda splits: splits["train"][0].update(runs=[[0, 10**9]]),
    "fewer": lambda splits: splits["train"][1].update(runs=[[0, 1]]),
    "0 runs": lambda splits: splits["train"][0].update(runs=[]),
    "file /dev/zero": lambda splits: splits["train"][0].update(file="/dev/zero"),
    "file outside": lambda splits: splits["train"][0].update(file="../outside"),
    "size 5": lambda splits: splits["train"][0].update(runs=[[5, 2]]),
}


def splits(rng: random.Random, data: Path) -> Mutation:
    """Splits that are not as the files."""
    what = rng.choice(list(SPLITS))
    first = json.loads((data / METADATA).read_text())["splits"]["train"][0]["file"]
    copied(data / first, data.parent / "outside")
    _changed(data, lambda content: SPLITS[what](content["splits"]))
    return Mutation(f"{METADATA}: {what}", Right.REFUSED, (METADATA, first, "train", "test", "outside", "/dev/zero"))


def bit(rng: random.Random, data: Path) -> Mutation:
    """A bit, mostly of what fills a shard up."""
    path = rng.choice(_shards(data))
    how = damage.flip(rng, path)
    return Mutation(f"{path.name}: {how}", Right.EITHER, (path.name,))


def bit_of_data(rng: random.Random, data: Path) -> Mutation:
    """A bit of what is stored."""
    path = rng.choice(_shards(data))
    content = bytearray(path.read_bytes())
    place = rng.choice([index for index, byte in enumerate(content) if byte])
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return Mutation(f"{path.name}: a bit of byte {place} flipped", Right.EITHER, (path.name,))


def shard(rng: random.Random, data: Path) -> Mutation:
    """A shard that is damaged."""
    path = rng.choice(_shards(data))
    how = damage.bytes_of(rng, path)
    return Mutation(f"{path.name}: {how}", Right.REFUSED, (path.name,))


def swapped(rng: random.Random, data: Path) -> Mutation:
    """Two shards under each other's names."""
    one, other = rng.sample(_shards(data), 2)
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    return Mutation(f"{one.name} and {other.name} swapped", Right.REFUSED, (one.name, other.name))


def shard_gone(rng: random.Random, data: Path) -> Mutation:
    """A shard that is not there."""
    path = rng.choice(_shards(data))
    path.unlink()
    return Mutation(f"{path.name} is gone", Right.REFUSED, (path.name,))


def other_file(rng: random.Random, data: Path) -> Mutation:
    """A file beside the shards that is damaged."""
    path = data / rng.choice(["empty_context.safetensors", "dataset_info.json", "features.json", "report.jsonl"])
    how = rng.choice([damage.bytes_of, damage.flip])(rng, path)
    return Mutation(f"{path.name}: {how}", Right.EITHER, (path.name,))


def other_gone(rng: random.Random, data: Path) -> Mutation:
    """One that is not there."""
    path = data / rng.choice(["empty_context.safetensors", METADATA])
    path.unlink()
    return Mutation(f"{path.name} is gone", Right.REFUSED, (path.name,))


def _shards(data: Path) -> list[Path]:
    return sorted(data.glob("*.array_record*"))


KINDS: Kinds = {
    field: 25,
    field_gone: 5,
    field_more: 4,
    metadata: 10,
    splits: 14,
    bit: 4,
    bit_of_data: 8,
    shard: 10,
    swapped: 8,
    shard_gone: 3,
    other_file: 10,
    other_gone: 2,
}
