"""What side features know: linear probes of a trained side network, and what its alignment decoder explains.

    python -m lisa_jax probe --workdir=DIR [--out=probes.jsonl]
    python -m lisa_jax probe --study=DIR --config=configs/studies/main_figures.py [--out=probes.jsonl]
    python -m lisa_jax probe --out=probes.jsonl --summary

The first form adds one line to --out (DIR/probes.jsonl by default) for the newest checkpoint of a training run, the
second one for every cell of a study that saved its networks (--config.save_side=True) and has no line yet. The third
prints tables, plain training and LISA side by side.

Ridge regressions say how well the condition, the clean latents, the gap between target and prior, and the noise level
can be read off each feature, on test pictures, beside the same of the untrained side network: R^2, by noise level.
"""

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._condition_module import DEFINE_condition_module
from lisa_jax.commands._flags import DEFINE_checked, Folder, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import WEIGHTS

DEFINE_checked("workdir", None, "Work directory of a training run.", Folder())
DEFINE_checked("study", None, "Folder of a study's results and networks.", Folder())
config_flags.DEFINE_config_file("config", None, "Config of the study.", lock_config=True)
DEFINE_checked("out", None, "File to add lines to; probes.jsonl in the run's or study's folder by default.", NewFile())
flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters of a training run to use.")
flags.DEFINE_bool("summary", False, "Print tables of the lines in --out and leave.")
DEFINE_condition_module()


def main() -> None:
    from lisa_jax.commands._work import probe

    probe.main()


if __name__ == "__main__":
    run_command(main)
