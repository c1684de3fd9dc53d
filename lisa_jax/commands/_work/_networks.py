"""The networks that the flags of `lisa_jax sample` and `lisa_jax demo` name."""

from absl import flags

from lisa_jax.drawing.networks import Networks, networks_of_folders, networks_of_runs
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.files.path_list import split_paths

FLAGS = flags.FLAGS


def networks_of_flags() -> Networks:
    """Those of --workdir, or of --controlnet beside --base."""
    if bool(FLAGS.workdir) == bool(FLAGS.base and FLAGS.controlnet):
        raise ValueError("Give either --workdir, or --base and --controlnet.")
    if not FLAGS.workdir:
        return networks_of_folders(FLAGS.base, split_paths(FLAGS.controlnet), FLAGS.dtype, FLAGS.leave_out, FLAGS.vae)
    if FLAGS.leave_out or FLAGS.vae:
        raise ValueError(
            "--leave_out and --vae go with --base: a run says itself what it was trained without and with."
        )
    weights = FLAGS.weights
    return networks_of_runs({path: load_run(path, weights) for path in split_paths(FLAGS.workdir)}, weights)
