"""What `lisa_jax demo` does, once its flags are read."""

import tempfile
from pathlib import Path

import jax
from absl import flags

from lisa_jax.commands._work._networks import networks_of_flags
from lisa_jax.demo.artist import Artist
from lisa_jax.demo.examples import examples_of

FLAGS = flags.FLAGS


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("demo runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    # Here, for it takes seconds to import, and is an extra.
    from lisa_jax.demo.page import Page, launch

    chosen = networks_of_flags()
    with tempfile.TemporaryDirectory(prefix="lisa_jax_demo_") as folder:
        page = Page(Artist(chosen), examples_of(chosen, FLAGS.condition_module), Path(folder))
        launch(page.blocks(), FLAGS.host, FLAGS.port, wait=True)
