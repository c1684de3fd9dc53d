"""What --help says of a config's fields."""

import re
import subprocess
import sys

from lisa_jax.__main__ import command_names
from lisa_jax.commands._help import fields_help, without_help
from lisa_jax.configs import base
from lisa_jax.configs.studies import main_openmoji
from lisa_jax.evaluation.extractors import EXTRACTORS
from lisa_jax.families.presets import PRESETS
from lisa_jax.probing import records as probes
from lisa_jax.sampling.samplers.sampler import SAMPLERS


def test_every_field_of_a_run_is_listed_with_what_it_means():
    lines = fields_help(base.control()).splitlines()[1:]
    fields = [place for place, line in enumerate(lines) if line.startswith("  --config.")]
    assert all(lines[place + 1].startswith("    ") for place in fields)
    # A group of fields, one that joins it later, one that is unset, and a comment above its field.
    assert {"  --config.optimizer.b1=0.9", "  --config.optimizer.fresh_rate=1.0"} <= set(lines)
    unset = lines.index("  --config.ema_decay=(unset)")
    assert lines[unset + 1].startswith("    Decay of the moving average of the trainable parameters; unset:")


def test_the_runs_of_a_study_have_the_same_fields():
    lines = fields_help(main_openmoji.get_config()).splitlines()
    assert lines[lines.index("  --config.training.lisa.lam=0.2") + 1] == "    its weight; 0: plain training"


def test_what_stands_behind_two_dashes_asks_for_no_help():
    assert without_help(["report", "--out=a", "--help", "--", "--help"]) == ["report", "--out=a", "--", "--help"]


HELP = """
import atexit, sys
from lisa_jax.__main__ import main

slow = {"cv2", "flax", "grain", "jax", "numpy", "orbax", "tensorflow", "tensorflow_datasets"}
atexit.register(lambda: print("imported:", *sorted(slow & set(sys.modules)), file=sys.stderr))
sys.argv = ["lisa_jax", *sys.argv[1:]]
main()
"""


def test_help_and_a_wrong_flag_are_answered_before_anything_slow_is_imported():
    def run(*argv):
        return subprocess.run([sys.executable, "-c", HELP, *argv], capture_output=True, text=True, check=False)

    manuals = {name: run(name, "--help") for name in command_names()}
    assert {done.stderr for done in manuals.values()} == {"imported:\n"}
    assert all(done.returncode == 0 and "flags:" in done.stdout for done in manuals.values())
    # Written out there, for the tables are slow to import.
    assert f"--sampler: <{'|'.join(SAMPLERS)}>" in manuals["sample"].stdout
    assert re.search(r"--quality:\s+<(.*?)>", manuals["evaluate"].stdout)[1].split("|") == list(EXTRACTORS)
    listed = re.search(r"--preset: <(.*?)>", manuals["new_base"].stdout, re.DOTALL)[1]
    assert set("".join(listed.split()).split("|")) == set(PRESETS)
    assert probes.FILE in manuals["probe"].stdout
    wrong = run("sample", "--nonsense")
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: Unknown command line flag 'nonsense'")
    assert wrong.stderr.endswith("imported:\n")
