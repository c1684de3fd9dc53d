"""Export a trained side network as a ControlNet folder that diffusers loads, or a file for web interfaces, with a card.

    python -m lisa_jax export --workdir=DIR --out=OUT [--format=diffusers|original] [--weights=ema|raw|best]
                              [--dtype=float16|bfloat16 [--variant]] [--verify] [--license=NAME] [--samples=grid.png|N]
                              [--push_to=OWNER/NAME [--private]]

Writes config.json, diffusion_pytorch_model.safetensors, README.md and, where the run drew previews, samples.png;
`diffusers.ControlNetModel.from_pretrained(OUT)` reads such a folder. Side networks that were trained together go to
OUT/<name> each. The alignment decoder is not part of it: sampling needs none.

--format=original writes NAME.safetensors in place of config and weights, NAME being the condition's: the layout that
ComfyUI (models/controlnet), A1111 and Forge (models/ControlNet) read, and --controlnet and config.side.start_from too.

--variant names the weights by their precision, diffusion_pytorch_model.fp16.safetensors or .bf16.safetensors: diffusers
reads them with variant="fp16" or "bf16". Those of another precision that lie in OUT stay there.

--verify runs the folder in diffusers, where that is installed, on random inputs of the run's sizes in float32, prints
the largest difference of a residual from ours, and fails where it is more than 1e-4 of the largest residual.

--push_to uploads what was written to a repository of the Hugging Face hub, which is made, public unless --private says
otherwise, where it is missing.
"""

from absl import flags

from lisa_jax.commands._condition_module import DEFINE_condition_module
from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import WEIGHTS
from lisa_jax.experiments.kinds import Text

DEFINE_checked("workdir", None, "Work directory of a training run.", Folder())
DEFINE_checked("out", None, "Folder for the ControlNet.", Folder())
flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters to write.")
flags.DEFINE_enum(
    "format", "diffusers", ["diffusers", "original"], "A folder for diffusers, or one file for web interfaces."
)
flags.DEFINE_enum("dtype", "float32", ["float32", "float16", "bfloat16"], "Dtype of the weights in the file.")
flags.DEFINE_bool("variant", False, "Name the weights by their precision, as diffusers' `variant` reads them.")
flags.DEFINE_bool("verify", False, "Compare the folder in diffusers with the trained parameters.")
DEFINE_checked("license", None, "For the model card: a hub's name of a licence, as openrail++.", Text())
DEFINE_checked(
    "samples",
    None,
    "For the model card: a picture, or how many to sample; the run's newest preview by default.",
    Text(),
)
DEFINE_checked("push_to", None, "Repository of the Hugging Face hub, owner/name, to upload to.", Text())
flags.DEFINE_bool("private", False, "Where --push_to makes the repository, only its owner sees it.")
DEFINE_condition_module()


def main() -> None:
    from lisa_jax.commands._work import export

    export.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    run_command(main)
