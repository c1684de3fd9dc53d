"""Write a whole Stable Diffusion folder with random weights: to try a config before the real weights are there.

    python -m lisa_jax new_base --preset=sd21 --out=DIR [--seed=0]

It has the size, files and switches of the published checkpoint (5.2 GB for `sd21`, 4.3 GB for `sd15`, float32) and
loads in diffusers; what it draws is noise.
"""

import logging

from absl import flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.fields import SEED
from lisa_jax.families.presets import PRESETS, write_random_base

_LOG = logging.getLogger("lisa_jax")
_PRESET = flags.DEFINE_enum("preset", None, list(PRESETS), "Which architecture.")
_OUT = DEFINE_checked("out", None, "Where the folder goes; it must not exist.", Folder())
_SEED = DEFINE_checked("seed", 0, "Seed of the weights.", SEED)


def main() -> None:
    folder = write_random_base(_PRESET.value, _OUT.value, _SEED.value)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _LOG.info("%s with random weights is in %s: %.2f GB.", _PRESET.value, folder, size / 1e9)


if __name__ == "__main__":
    flags.mark_flags_as_required(["preset", "out"])
    run_command(main)
