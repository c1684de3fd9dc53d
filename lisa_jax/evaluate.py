"""Condition fidelity of a trained side network on the test split.

    python -m lisa_jax.evaluate --workdir=DIR --out=result.json [--num=128]

Measures by condition: line art, F1 of lines; lowres, PSNR and SSIM to the real images and PSNR at low resolution;
segmentation (of OpenMoji's layers), mean IoU. Of samples with control, and without it as the floor; beside them the
real images (the ceiling) and real images of other examples.
"""

import json
import logging
from pathlib import Path

from absl import flags

from lisa_jax.evaluation.fidelity import MEASURES, bounded_fidelity
from lisa_jax.run import load_run, run_command
from lisa_jax.sampling.generate import make_generator
from lisa_jax.splits import load_split

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of a training run.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the result.")
_NUM = flags.DEFINE_integer("num", 128, "Number of test examples, from the first on.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the starting noise.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", ["auto", "ema", "raw"], "Which parameters to use.")

SPLIT = "test"


def task_of(condition: str) -> str:
    """The task that a condition is measured by; raises ValueError where there is none."""
    task = condition.rpartition(":")[2] if isinstance(condition, str) else "+".join(condition)
    if task not in MEASURES:
        raise ValueError(f"No fidelity measure for the condition '{condition}': there are {', '.join(MEASURES)}.")
    return task


def main() -> None:
    run = load_run(_WORKDIR.value, _WEIGHTS.value)
    task = task_of(run.config.data.condition)
    split = load_split(run.config, run.family, SPLIT)
    count = min(_NUM.value, len(split.source))
    batch = next(split.ordered_batches(count))
    generate = make_generator(run.family, **run.config.sampling)
    base = (run.family.frozen, run.family.latents.params)
    inputs = (split.contexts(batch), batch["condition"], batch["index"])
    controlled = generate(*base, run.side, *inputs, seed=_SEED.value)
    uncontrolled = generate(*base, None, *inputs, seed=_SEED.value)
    fidelity = bounded_fidelity(task, controlled, uncontrolled, split.references(batch), batch["condition"])

    result = {
        "task": task,
        "fidelity": fidelity,
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
    _LOG.info("%s: %s of %d test examples at step %d:", task, " / ".join(MEASURES[task]), count, run.step)
    for name, values in fidelity.items():
        shown = ("-" if value is None else f"{value:.3f}" for value in values.values())
        _LOG.info("  %-14s %s", name, " / ".join(shown))


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    run_command(main)
