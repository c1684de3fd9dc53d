"""Single bits of a checkpoint's arrays, flipped. Slow: `pytest -m slow -s tests/fuzz/test_bit_flips.py`."""

import collections
import random
import shutil

import pytest

from fuzz import damage
from fuzz.case import digest
from fuzz.groups.checkpoints import TOLD
from fuzz.runs.steps import steps_of
from fuzz.world import copied

FLIPS = 120


def newest(run):
    return max(
        (path for path in (run / "checkpoints").iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
    )


@pytest.mark.slow
def test_a_flipped_bit_in_an_array_is_noticed(world, tmp_path):
    seed = random.randrange(2**32)
    rng, found, silent = random.Random(seed), collections.Counter(), []
    whole = world.valid("export_of_run", ("export", f"--workdir={world.run}", "--out={out}"))
    for flip in range(FLIPS):
        run, out = copied(world.run, tmp_path / "run"), tmp_path / "out"
        # The arrays' bytes, each file as likely as it is long; not the manifests, nor what describes them.
        files = sorted(path for path in (steps_of(run)[-1] / "state").glob("**/d/*") if path.is_file())
        path = rng.choices(files, weights=[path.stat().st_size for path in files])[0]
        how = damage.flip(rng, path)
        outcome = world.machine.run(("export", f"--workdir={run}", f"--out={out}"), tmp_path)
        if outcome.returncode != 0 or any(word in outcome.stderr for word in TOLD):
            found["noticed"] += 1
        else:
            found["unnoticed, weights as they were" if digest(out) == whole else "unnoticed, other weights"] += 1
            silent.append(f"flip {flip}: {path.name} of {path.stat().st_size} bytes: {how}")
        shutil.rmtree(run)
        shutil.rmtree(out, ignore_errors=True)
    print(f"\nseed {seed}: {FLIPS} flips: {dict(found)}")
    assert not silent
