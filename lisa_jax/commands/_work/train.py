"""What `lisa_jax train` does, once its flags are read."""

import logging
import sys

from absl import flags
from ml_collections import ConfigDict

from lisa_jax.experiments.base import absolute_paths, load_base
from lisa_jax.experiments.channels import choose_channels
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

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")


def main() -> None:
    config, workdir = check_control(FLAGS.config), FLAGS.workdir
    check_installed(config.trackers)
    choose_condition(config)
    choose_channels(config)
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
