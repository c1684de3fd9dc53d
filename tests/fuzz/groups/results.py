"""Folders of studies and runs that `report`, `study --summary` and `probe --summary` read: damaged files of results."""

import random
from pathlib import Path

from toys import small_study
from toys.study_file import study_file

from fuzz import damage
from fuzz.case import Case, Kinds, Mutation, Right, drawn
from fuzz.world import World


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A folder of results that was mutated, and a command that reads it."""
    kind = drawn(rng, KINDS)
    study, *runs = small_study.write_all(inputs)
    mutation = kind(rng, rng.choice([study, study, study, runs[0]]))
    config = inputs / "study.py"
    defaults = {"num_steps": 2, "batch_size": 4, "hook": "mid"}
    config.write_text(study_file(base=str(world.base), defaults=defaults, grid={"task": "lineart", "lam": (0.0, 0.2)}))
    command = rng.choice(
        [
            ("report", str(study), *map(str, runs), f"--out={inputs}/page.html"),
            ("report", str(study), *map(str, runs), f"--out={inputs}/page.html"),
            ("study", f"--config={config}", f"--out={study}", "--summary"),
            ("probe", f"--out={study}/probes.jsonl", "--summary"),
        ]
    )
    return Case.of(mutation._replace(what=f"{mutation.what}; {command[0]}"), command, None)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damaged(rng: random.Random, folder: Path) -> Mutation:
    """A file that is damaged; not all commands read it, and a page leaves out what a folder lacks."""
    path = rng.choice(_files(folder))
    how = (damage.json_of if path.suffix in (".json", ".jsonl") else damage.bytes_of)(rng, path)
    return Mutation(f"{path.relative_to(folder)}: {how}", Right.ANY, (path.name, folder.name))


def field(rng: random.Random, folder: Path) -> Mutation:
    """Nonsense in a field of an object."""
    path = rng.choice([path for path in _files(folder) if path.suffix == ".json" and path.name != "other.json"])
    name, value = damage.field_of(rng, path)
    return Mutation(f"{path.relative_to(folder)}: {name} = {value!r:.60}", Right.ANY, (path.name, name))


def field_of_line(rng: random.Random, folder: Path) -> Mutation:
    """Nonsense in a field of a line."""
    path = rng.choice([path for path in _files(folder) if path.suffix == ".jsonl"])
    lines = path.read_text().splitlines()
    number = rng.randrange(min(2, len(lines)))
    line = path.with_name("line.json")
    line.write_text(lines[number])
    name, value = damage.field_of(rng, line)
    lines[number] = line.read_text()
    line.unlink()
    path.write_text("\n".join(lines) + "\n")
    return Mutation(f"{path.name} line {number + 1}: {name} = {value!r:.60}", Right.ANY, (path.name, name))


def line(rng: random.Random, folder: Path) -> Mutation:
    """A line that is none, or there twice."""
    path = rng.choice([path for path in _files(folder) if path.suffix == ".jsonl"])
    lines = path.read_text().splitlines()
    added = rng.choice(["[1]", "3", "null", "{}", '{"id": 3}', "{" * damage.DEEP, "\udcff", lines[-1], "x"])
    lines.insert(rng.randrange(len(lines) + 1), added)
    path.write_text("\n".join(lines) + "\n", errors="surrogateescape")
    return Mutation(f"{path.name}: a line {added[:40]!r}", Right.ANY, (path.name,))


def gone(rng: random.Random, folder: Path) -> Mutation:
    """A file or a folder that is not there."""
    path = rng.choice(sorted(folder.rglob("*")))
    damage.remove(path)
    return Mutation(f"{path.relative_to(folder)} is gone", Right.ANY, (path.name, folder.name))


KINDS: Kinds = {damaged: 10, field: 8, field_of_line: 14, line: 8, gone: 3}
