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

import logging
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._condition_module import CONDITION_MODULE
from lisa_jax.commands._flags import DEFINE_checked, Folder, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.saved_run import WEIGHTS
from lisa_jax.probing.records import FILE, append_record, read_records
from lisa_jax.probing.study_cells import probe_study
from lisa_jax.probing.table import markdown
from lisa_jax.probing.training_runs import probe_run
from lisa_jax.studies.config_fields import check_study

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = DEFINE_checked("workdir", None, "Work directory of a training run.", Folder())
_STUDY = DEFINE_checked("study", None, "Folder of a study's results and networks.", Folder())
_CONFIG = config_flags.DEFINE_config_file("config", None, "Config of the study.", lock_config=True)
_OUT = DEFINE_checked(
    "out", None, f"File to add lines to; {FILE} in the run's or study's folder by default.", NewFile()
)
_WEIGHTS = flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters of a training run to use.")
_SUMMARY = flags.DEFINE_bool("summary", False, "Print tables of the lines in --out and leave.")


def main() -> None:
    folder = _WORKDIR.value or _STUDY.value
    if (_WORKDIR.value and _STUDY.value) or not (folder or (_SUMMARY.value and _OUT.value)):
        raise ValueError("Give --workdir of a training run or --study of a study, or --out with --summary.")
    out = Path(_OUT.value or Path(folder) / FILE)
    if _SUMMARY.value:
        print(markdown(read_records(out)), end="")
        return
    if _STUDY.value:
        if _CONFIG.value is None:
            raise ValueError("Give --config, with which the study in --study ran.")
        done = {record["id"] for record in read_records(out)} if out.exists() else ()
        records = probe_study(_STUDY.value, check_study(_CONFIG.value), done)
    else:
        records = (probe_run(_WORKDIR.value, _WEIGHTS.value, CONDITION_MODULE.value),)
    for record in records:
        append_record(out, record)
        _LOG.info("%s at step %d: %d probes are in %s.", record["id"], record["step"], len(record["rows"]), out)
    _LOG.info("python -m lisa_jax probe --out=%s --summary prints tables.", out)


if __name__ == "__main__":
    run_command(main)
