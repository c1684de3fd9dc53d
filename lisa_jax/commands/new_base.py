"""Write a whole Stable Diffusion folder with random weights: to try a config before the real weights are there.

    python -m lisa_jax new_base --preset=sd21 --out=DIR [--seed=0]

It has the size, files and switches of the published checkpoint (5.2 GB for `sd21`, 4.3 GB for `sd15`, float32) and
loads in diffusers; what it draws is noise.
"""

from absl import flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import SEED
from lisa_jax.experiments.kinds import Text

DEFINE_checked("preset", None, "Architecture, of lisa_jax.families.presets; a wrong name lists them.", Text())
DEFINE_checked("out", None, "Where the folder goes; it must not exist.", Folder())
DEFINE_checked("seed", 0, "Seed of the weights.", SEED)


def main() -> None:
    from lisa_jax.commands._work import new_base

    new_base.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["preset", "out"])
    run_command(main)
