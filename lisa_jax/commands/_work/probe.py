"""What `lisa_jax probe` does, once its flags are read."""

import logging
from pathlib import Path

from absl import flags

from lisa_jax.probing.records import FILE, append_record, read_records
from lisa_jax.probing.study_cells import probe_study
from lisa_jax.probing.table import markdown
from lisa_jax.probing.training_runs import probe_run
from lisa_jax.studies.config_fields import check_study

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")


def main() -> None:
    folder = FLAGS.workdir or FLAGS.study
    if (FLAGS.workdir and FLAGS.study) or not (folder or (FLAGS.summary and FLAGS.out)):
        raise ValueError("Give --workdir of a training run or --study of a study, or --out with --summary.")
    out = Path(FLAGS.out or Path(folder) / FILE)
    if FLAGS.summary:
        print(markdown(read_records(out)), end="")
        return
    if FLAGS.study:
        if FLAGS.config is None:
            raise ValueError("Give --config, with which the study in --study ran.")
        done = {record["id"] for record in read_records(out)} if out.exists() else ()
        records = probe_study(FLAGS.study, check_study(FLAGS.config), done)
    else:
        records = (probe_run(FLAGS.workdir, FLAGS.weights, FLAGS.condition_module),)
    for record in records:
        append_record(out, record)
        _LOG.info("%s at step %d: %d probes are in %s.", record["id"], record["step"], len(record["rows"]), out)
    _LOG.info("python -m lisa_jax probe --out=%s --summary prints tables.", out)
