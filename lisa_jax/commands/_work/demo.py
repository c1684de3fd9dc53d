"""What `lisa_jax demo` does, once its flags are read."""

import os

import jax
from absl import flags

from lisa_jax.commands._work._networks import networks_of_flags
from lisa_jax.demo.artist import Artist
from lisa_jax.demo.examples import examples_of
from lisa_jax.files.temporary_folder import temporary_folder

FLAGS = flags.FLAGS


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("demo runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    with temporary_folder("lisa_jax_demo_") as folder:
        # Read as gradio is imported. Its own place is that of a machine's first user, and is never emptied.
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
        # Here, for it takes seconds to import, and is an extra.
        from lisa_jax.demo.page import Page, launch

        chosen = networks_of_flags()
        page = Page(Artist(chosen), examples_of(chosen, FLAGS.condition_module), folder)
        launch(page.blocks(), FLAGS.host, FLAGS.port, wait=True)
