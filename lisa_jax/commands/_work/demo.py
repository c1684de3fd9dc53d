"""What `lisa_jax demo` does, once its flags are read."""

import tempfile
from pathlib import Path

import jax
from absl import flags

from lisa_jax.demo.artist import Artist
from lisa_jax.demo.examples import examples_of
from lisa_jax.drawing.networks import Networks, networks_of_folders, networks_of_runs
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.files.path_list import split_paths

FLAGS = flags.FLAGS


def networks() -> Networks:
    """What the flags name."""
    if bool(FLAGS.workdir) == bool(FLAGS.base and FLAGS.controlnet):
        raise ValueError("Give either --workdir, or --base and --controlnet.")
    if FLAGS.base and FLAGS.controlnet:
        return networks_of_folders(FLAGS.base, split_paths(FLAGS.controlnet), FLAGS.dtype)
    weights = FLAGS.weights
    return networks_of_runs({path: load_run(path, weights) for path in split_paths(FLAGS.workdir)}, weights)


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("demo runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    # Here, for it takes seconds to import, and is an extra.
    from lisa_jax.demo.page import Page, launch

    chosen = networks()
    with tempfile.TemporaryDirectory(prefix="lisa_jax_demo_") as folder:
        page = Page(Artist(chosen), examples_of(chosen, FLAGS.condition_module), Path(folder))
        launch(page.blocks(), FLAGS.host, FLAGS.port, wait=True)
