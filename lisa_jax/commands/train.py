"""Train side networks beside a frozen main network.

    python -m lisa_jax train --config=configs/openmoji_lineart.py --workdir=DIR [--config.field=value]

The same command continues an interrupted run from its newest checkpoint. SIGTERM or Ctrl-C saves and leaves, with exit
status 75; a second Ctrl-C leaves at once.
"""

import logging
import sys

from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.base import absolute_paths, load_base
from lisa_jax.experiments.conditions import choose_condition
from lisa_jax.experiments.control import check_aligned_rows
from lisa_jax.experiments.fields import check_control
from lisa_jax.experiments.training_run import training_experiment
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.parallel.stop_signals import STOPPED_EARLY
from lisa_jax.training.loop import fit
from lisa_jax.training.state import TrainState
from lisa_jax.training.trackers import check_installed
from lisa_jax.training.work_directory import claimed

_LOG = logging.getLogger("lisa_jax")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_WORKDIR = DEFINE_checked("workdir", None, "Where checkpoints, logs and previews go.", Folder())


def main() -> None:
    config, workdir = check_control(_CONFIG.value), _WORKDIR.value
    check_installed(config.trackers)
    choose_condition(config)
    absolute_paths(config)
    with claimed(workdir):
        state = _train(config, workdir)
    _LOG.info("%d of %d steps are done; everything is in %s.", int(state.step), config.num_steps, workdir)
    if int(state.step) < config.num_steps:
        sys.exit(STOPPED_EARLY)


def _train(config: ConfigDict, workdir: str) -> TrainState:
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    check_aligned_rows(config, mesh)
    family = load_base(config, mesh)
    return fit(training_experiment(config, family), config, workdir)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main, kept="leaving before a step was done; nothing is lost, and the same command goes on.")
