"""Export a trained side network as a ControlNet folder that diffusers loads.

    python -m lisa_jax.export --workdir=DIR --out=OUT [--weights=ema|raw]

Writes config.json and diffusion_pytorch_model.safetensors; `diffusers.ControlNetModel.from_pretrained(OUT)` reads them.
The alignment decoder is not part of it: sampling needs none.
"""

import logging

from absl import flags

from lisa_jax.run import load_run, run_command

_LOG = logging.getLogger("lisa_jax")
_WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of a training run.")
_OUT = flags.DEFINE_string("out", None, "Folder for the ControlNet.")
_WEIGHTS = flags.DEFINE_enum("weights", "auto", ["auto", "ema", "raw"], "Which parameters to write.")


def main() -> None:
    run = load_run(_WORKDIR.value, _WEIGHTS.value)
    run.family.write_side(_OUT.value, run.side)
    _LOG.info("The ControlNet of step %d is in %s.", run.step, _OUT.value)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "out"])
    run_command(main)
