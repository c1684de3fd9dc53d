"""One self-contained page about studies and training runs: curves, samples, tables, in plain words too.

    python -m lisa_jax report DIR... --out=report.html

Each DIR is the --out of a study or the --workdir of a training run; folders of both kinds can be mixed, and what a
folder lacks is left out of the page. Open the page in a browser: it needs no network and no other file.
"""

from collections.abc import Sequence

from absl import flags

from lisa_jax.commands._flags import DEFINE_checked, NewFile
from lisa_jax.commands._run import run_command

DEFINE_checked("out", None, "HTML file for the report.", NewFile())


def main(folders: Sequence[str]) -> None:
    from lisa_jax.commands._work import report

    report.main(folders)


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main, takes_arguments=True)
