"""What `lisa_jax pretrain` does, once its flags are read."""

import logging
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.experiments.fields import check_pretraining, network_of
from lisa_jax.experiments.pretraining import pretraining
from lisa_jax.families.family import Setup
from lisa_jax.families.new_bases import NEW_BASES
from lisa_jax.families.registry import load_family
from lisa_jax.parallel.stop_signals import STOPPED_EARLY
from lisa_jax.training.loop import fit
from lisa_jax.training.trackers import check_installed
from lisa_jax.training.work_directory import claimed

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")


def main() -> None:
    config, workdir = check_pretraining(FLAGS.config), Path(FLAGS.workdir)
    check_installed(config.trackers)
    if jax.process_count() > 1:
        raise ValueError("pretrain runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    with claimed(workdir):
        stopped = _pretrain(config, workdir)
    if stopped:
        sys.exit(STOPPED_EARLY)
    _LOG.info("The base is in %s.", workdir / "base")


def _pretrain(config: ConfigDict, workdir: Path) -> bool:
    """Train, and write the base; True where that was stopped before the last step."""
    new_base = workdir / "new_base"
    if not new_base.exists():
        train = load_embedded(config.data.name, config.data.image_size, "train")
        # Renamed when whole, so that a killed start leaves no half of a base.
        partial = workdir / "new_base.partial"
        write_new_base = NEW_BASES[network_of(config)]
        write_new_base(partial, config, [train[index]["caption"] for index in range(len(train))])
        partial.rename(new_base)
    family = load_family(str(new_base), Setup(frozen_dtype="float32", compute_dtype=config.compute_dtype))
    state = fit(pretraining(config, family), config, workdir)
    if int(state.step) < config.num_steps:
        return True
    # Half the size, and as exact as the frozen weights need to be.
    main_params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), state.eval_params["main"])
    family.write_main(workdir / "base", main_params)
    return False
