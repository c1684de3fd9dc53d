"""Run a study: a grid of short training runs on one data set that stays in memory, measured on the way.

    python -m lisa_jax study --config=configs/studies/main_openmoji.py --out=DIR [--cell=3] [--minutes=60]
    python -m lisa_jax study --config=... --out=DIR --list
    python -m lisa_jax study --config=... --out=DIR --summary

The first form runs every cell that has no result in DIR yet, most important first; with --cell one alone (a cluster's
array task: each writes a file of its own). The same command continues an interrupted study from the first cell that is
not finished. Results of other code, another base, other data or another protocol in DIR are refused. DIR also gets
grids of samples, references.json (ceiling and floors of every measure), with --config.extractor.name distances of all
samples to real pictures (quality/) and, with --config.save_side, the networks.
"""

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import MOST_CELLS
from lisa_jax.experiments.kinds import Number, Whole

config_flags.DEFINE_config_file("config", None, "Config of the study.", lock_config=True)
DEFINE_checked("out", None, "Folder of the results.", Folder())
DEFINE_checked("cell", None, "Run this cell alone; numbers as --list shows them.", Whole(0, MOST_CELLS))
DEFINE_checked("minutes", None, "Stop after so many minutes; the cell under way is lost.", Number(least=0, most=1e6))
flags.DEFINE_bool("list", False, "List the cells and leave.")
flags.DEFINE_bool("summary", False, "Print tables of the results in --out and leave.")


def main() -> None:
    from lisa_jax.commands._work import study

    study.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "out"])
    run_command(main, kept="leaving; finished cells are kept, and the same command goes on with the next one.")
