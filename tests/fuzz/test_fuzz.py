"""Malformed inputs: a sentence with the offending name, or the right result.

A few run with the suite; a thousand do with `pytest -m slow -s tests/fuzz/test_fuzz.py`, which prints a table by group.
$LISA_JAX_FUZZ_SEED makes other cases, $LISA_JAX_FUZZ_CASES another number of them. The inputs of those that end wrongly
stay in pytest's temporary folder, which the failure names with the command.
"""

import importlib
import os
import random
import shlex
import shutil
from collections import Counter

import pytest

from fuzz.case import Verdict, verdict
from fuzz.table import table

GROUPS = (
    *("bases", "checkpoints", "sources", "conditions", "prepared_sets"),
    *("flags", "names", "results", "surroundings", "continued"),
)
SEED = int(os.environ.get("LISA_JAX_FUZZ_SEED", "0"))
CASES = int(os.environ.get("LISA_JAX_FUZZ_CASES", "1000"))
# Of seed 0, cases that once ended with a traceback, a hang, a wrong result or too much memory, and are told within a
# fraction of a second.
SAMPLE = {
    "bases": (7, 8, 14),
    "checkpoints": (2, 4, 6),
    "sources": (2, 4, 7, 8, 11, 14),
    "conditions": (),
    "prepared_sets": (4, 6, 7),
    "flags": (1, 2, 5, 6, 9),
    "names": (),
    "results": (1, 5, 13, 28),
    "surroundings": (),
    "continued": (),
}
# One worker has the forking process, and the inputs.
pytestmark = pytest.mark.xdist_group("fuzz")


def tried(world, group, number, seed, folder):
    """Make a case of a group in a folder, the same for a seed and a number; run and judge it."""
    generator = importlib.import_module(f"fuzz.groups.{group}")
    case = generator.case(random.Random(f"{seed} {group} {number}"), world, folder)
    folder.mkdir(exist_ok=True)
    for command in case.commands:
        outcome = world.machine.run(command, folder, case.surroundings)
        if outcome.returncode != 0:
            break
    how = verdict(case, outcome, world.valid)
    story = f"{group} {number} of seed {seed}: {how.value}: {case.what}\nRight is {case.right.value}: {case.named}"
    return how, f"{story}\nlisa_jax {shlex.join(command)}\n{outcome.stderr[-2000:]}"


@pytest.mark.parametrize(("group", "number"), [(group, number) for group in SAMPLE for number in SAMPLE[group]])
def test_a_malformed_input_is_refused_by_name_or_harmless(world, tmp_path, group, number):
    how, story = tried(world, group, number, 0, tmp_path / "case")
    assert how is Verdict.GOOD, story


@pytest.mark.slow
def test_a_thousand_malformed_inputs(world, tmp_path):
    found, stories = {group: Counter() for group in GROUPS}, []
    for index in range(CASES):
        group, number = GROUPS[index % len(GROUPS)], index // len(GROUPS)
        folder = tmp_path / f"{group}-{number}"
        how, story = tried(world, group, number, SEED, folder)
        found[group][how] += 1
        if how is Verdict.GOOD:
            shutil.rmtree(folder)
        else:
            stories.append(story)
    print(f"\nseed {SEED}\n{table(found)}")
    assert not stories, "\n\n".join(stories)
