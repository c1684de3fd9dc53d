"""A page in the browser to try trained side networks: draw or upload a condition, see it with control and without.

    python -m lisa_jax demo --workdir=DIR                                         of a training run
    python -m lisa_jax demo --workdir=POSE,DEPTH                                  several, trained apart
    python -m lisa_jax demo --base=SD --controlnet=FOLDER[,FOLDER]                of folders, files, or names of the hub

Needs gradio: pip install 'lisa_jax[demo]'. What it draws is what `lisa_jax sample --prompt --condition` draws with the
same settings. The page is for this machine alone, unless --host says otherwise, and fetches nothing from elsewhere.
"""

from absl import flags

from lisa_jax.commands._condition_module import DEFINE_condition_module
from lisa_jax.commands._flags import DEFINE_checked
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import WEIGHTS
from lisa_jax.experiments.kinds import Text, Whole

flags.DEFINE_string("workdir", None, "Work directories of training runs beside the same base.")
DEFINE_checked(
    "base", None, "Base, a folder, a file or owner/name of the hub, with --controlnet for --workdir.", Text()
)
flags.DEFINE_string("controlnet", None, "ControlNets, folders, files or owner/name of the hub.")
DEFINE_checked("vae", None, "With --base: a VAE in place of its own, a folder, a file or a name of the hub.", Text())
flags.DEFINE_list("leave_out", [], "With --base: components that it is to do without, as text_encoder_3.")
flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters of a run to use.")
flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --base: dtype of weights and compute.")
DEFINE_checked("host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets the whole network in.", Text())
DEFINE_checked("port", None, "Port to listen at; by default the first free one from 7860 on.", Whole(1, 65535))
DEFINE_condition_module()


def main() -> None:
    from lisa_jax.commands._work import demo

    demo.main()


if __name__ == "__main__":
    run_command(main, kept="the page is closed; the same command opens it again.")
