"""What `lisa_jax report` does, once its flags are read."""

import logging
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.reporting.folders import read
from lisa_jax.reporting.page import render

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")


def main(folders: Sequence[str]) -> None:
    if not folders:
        raise ValueError("Name the folders to report on: python -m lisa_jax report DIR... --out=report.html.")
    page, out = render([read(folder) for folder in dict.fromkeys(folders)]), Path(FLAGS.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole_text(out, page)
    _LOG.info("The report is in %s, %.1f MB.", out, out.stat().st_size / 1e6)
