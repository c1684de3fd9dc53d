"""What `lisa_jax new_base` does, once its flags are read."""

import logging

from absl import flags

from lisa_jax.families.presets import write_random_base

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")


def main() -> None:
    folder = write_random_base(FLAGS.preset, FLAGS.out, FLAGS.seed)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _LOG.info("%s with random weights is in %s: %.2g GB.", FLAGS.preset, folder, size / 1e9)
