"""One self-contained page about studies and training runs: curves, samples, tables, in plain words too.

    python -m lisa_jax report DIR... --out=report.html

Each DIR is the --out of a study or the --workdir of a training run; folders of both kinds can be mixed, and what a
folder lacks is left out of the page. Open the page in a browser: it needs no network and no other file.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lisa_jax.commands._flags import DEFINE_checked, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.reporting.folders import read
from lisa_jax.reporting.page import render

_LOG = logging.getLogger("lisa_jax")
_OUT = DEFINE_checked("out", None, "HTML file for the report.", NewFile())


def main(folders: Sequence[str]) -> None:
    if not folders:
        raise ValueError("Name the folders to report on: python -m lisa_jax report DIR... --out=report.html.")
    page, out = render([read(folder) for folder in dict.fromkeys(folders)]), Path(_OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole_text(out, page)
    _LOG.info("The report is in %s, %.1f MB.", out, out.stat().st_size / 1e6)


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main, takes_arguments=True)
