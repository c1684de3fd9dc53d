"""A page in the browser to try trained side networks: draw or upload a condition, see it with control and without.

    python -m lisa_jax demo --workdir=DIR                                         of a training run
    python -m lisa_jax demo --workdir=POSE,DEPTH                                  several, trained apart
    python -m lisa_jax demo --base=SD --controlnet=FOLDER[,FOLDER]                of folders, files, or names of the hub

Needs gradio: pip install 'lisa_jax[demo]'. What it draws is what `lisa_jax sample --prompt --condition` draws with the
same settings. The page is for this machine alone, unless --host says otherwise, and fetches nothing from elsewhere.
"""

import tempfile
from pathlib import Path

import jax
from absl import flags

from lisa_jax.commands._condition_module import CONDITION_MODULE
from lisa_jax.commands._flags import DEFINE_checked
from lisa_jax.commands._run import run_command
from lisa_jax.demo.artist import Artist
from lisa_jax.demo.examples import examples_of
from lisa_jax.drawing.networks import Networks, networks_of_folders, networks_of_runs
from lisa_jax.experiments.kinds import Text, Whole
from lisa_jax.experiments.saved_run import WEIGHTS, load_run
from lisa_jax.files.path_list import split_paths

_WORKDIR = flags.DEFINE_string("workdir", None, "Work directories of training runs beside the same base.")
_BASE = DEFINE_checked(
    "base", None, "Base, a folder, a file or owner/name of the hub, with --controlnet for --workdir.", Text()
)
_CONTROLNET = flags.DEFINE_string("controlnet", None, "ControlNets, folders, files or owner/name of the hub.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters of a run to use.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --base: dtype of weights and compute.")
_HOST = DEFINE_checked("host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets the whole network in.", Text())
_PORT = DEFINE_checked("port", None, "Port to listen at; by default the first free one from 7860 on.", Whole(1, 65535))


def networks() -> Networks:
    """What the flags name."""
    if bool(_WORKDIR.value) == bool(_BASE.value and _CONTROLNET.value):
        raise ValueError("Give either --workdir, or --base and --controlnet.")
    if _BASE.value and _CONTROLNET.value:
        return networks_of_folders(_BASE.value, split_paths(_CONTROLNET.value), _DTYPE.value)
    weights = _WEIGHTS.value
    return networks_of_runs({path: load_run(path, weights) for path in split_paths(_WORKDIR.value)}, weights)


def main() -> None:
    if jax.process_count() > 1:
        raise ValueError("demo runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    # Here, for it takes seconds to import, and is an extra.
    from lisa_jax.demo.page import Page, launch

    chosen = networks()
    with tempfile.TemporaryDirectory(prefix="lisa_jax_demo_") as folder:
        page = Page(Artist(chosen), examples_of(chosen, CONDITION_MODULE.value), Path(folder))
        launch(page.blocks(), _HOST.value, _PORT.value, wait=True)


if __name__ == "__main__":
    run_command(main, kept="the page is closed; the same command opens it again.")
