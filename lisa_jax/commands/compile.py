"""Compile the real training step for TPUs or GPUs from any machine: does it fit, what bounds it, what does it cost?

    python -m lisa_jax compile --config=configs/sd21_lisa.py --topology=v5e:4x4 --images_per_chip=4 --out=report.json
    python -m lisa_jax compile --config=configs/sd21_lisa.py --topology=h100:8 --images_per_chip=16 --out=report.json

Needs the compiler and no weights: libtpu (`pip install -e ".[tpu]"`) and no TPU, or XLA's for NVIDIA GPUs (`pip install
-e ".[cuda13]"`, jax 0.11.2 or newer on Python 3.12 or newer) and no GPU. The architecture is that of the config's base
where it is there, else that of the config's `preset`; --preset goes before both. Two levels: the lowered step
(operations, arguments, gradients) is analysed within a minute; the full compilation gives memory, memory traffic and
collectives, and takes minutes (--lowered_only leaves it out). --compare does both for plain training too and prints the
ratios. Exit status 2: the step does not fit; the largest buffers are named.
"""

import os

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import DEFINE_checked, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.kinds import Number, Text, Whole

config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
DEFINE_checked(
    "preset",
    None,
    "Architecture, of lisa_jax.families.presets; that of the config's base or preset by default.",
    Text(),
)
DEFINE_checked(
    "topology",
    None,
    "CHIP:AxB[xC] of TPUs: v5e:16x16, v5p:4x4x4; CHIP:GPUS or CHIP:HOSTSxGPUS: h100:8, h100:2x8, 4090:1.",
    Text(),
)
DEFINE_checked(
    "images_per_chip",
    None,
    "Sets the global batch to so many images a chip; the config's batch_size by default.",
    Whole(1, 2**16),
)
DEFINE_checked("out", None, "JSON file for the report.", NewFile())
flags.DEFINE_bool("compare", False, "Also analyse plain training and print LISA over plain.")
flags.DEFINE_bool("lowered_only", False, "Leave out the full compilation.")
DEFINE_checked(
    "effort",
    -1.0,
    "XLA's optimisation effort for TPUs in [-1, 1]: -1 compiles soonest, 0 is what a run uses.",
    Number(least=-1, most=1),
)


def main() -> None:
    from lisa_jax.commands._work import compile

    compile.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "topology"])
    # This process compiles for TPUs and computes on none.
    os.environ["JAX_PLATFORMS"] = "cpu"
    run_command(main)
