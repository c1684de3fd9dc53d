"""Condition fidelity of a trained side network on the test split.

    python -m lisa_jax.evaluate --workdir=DIR --out=result.json [--num=128]

Line art: F1 between the dark lines of the samples and the lines of the condition, with control, and without it as the
floor; beside them the F1 of the real images (the ceiling) and of real images of other examples.
"""

import json
import logging
from pathlib import Path

from absl import flags

from lisa_jax.evaluation.line_fidelity import line_fidelity
from lisa_jax.run import load_run, load_split, run_command
from lisa_jax.sampling.generate import make_generator

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of a training run.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the result.")
_NUM = flags.DEFINE_integer("num", 128, "Number of test examples, from the first on.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the starting noise.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", ["auto", "ema", "raw"], "Which parameters to use.")

SPLIT = "test"


def main() -> None:
    run = load_run(_WORKDIR.value, _WEIGHTS.value)
    if run.config.data.condition != "lineart":
        raise ValueError(f"No fidelity metric for the condition '{run.config.data.condition}': there is lineart.")
    split = load_split(run.config, run.family, SPLIT)
    count = min(_NUM.value, len(split.source))
    batch = next(split.ordered_batches(run.config.data.condition, count))
    generate = make_generator(run.family, **run.config.sampling)
    inputs = (batch["context"], batch["condition"], batch["index"])
    controlled = generate(run.family.frozen, run.side, *inputs, seed=_SEED.value)
    uncontrolled = generate(run.family.frozen, None, *inputs, seed=_SEED.value)
    fidelity = line_fidelity(controlled, uncontrolled, batch["image"], batch["condition"])

    result = {
        "task": "lineart",
        "line_f1": fidelity,
        "step": run.step,
        "examples": count,
        "split": SPLIT,
        "seed": _SEED.value,
        "weights": _WEIGHTS.value,
        "sampling": run.config.sampling.to_dict(),
        "base": run.family.fingerprint,
    }
    Path(_OUT.value).parent.mkdir(parents=True, exist_ok=True)
    Path(_OUT.value).write_text(json.dumps(result, indent=2) + "\n")
    _LOG.info("Line-art F1 of %d test examples at step %d (lines may be off by 0 / 1 pixel):", count, run.step)
    for name, values in fidelity.items():
        _LOG.info("  %-14s %.3f / %.3f", name, values["f1_tolerance_0"], values["f1_tolerance_1"])


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    run_command(main)
