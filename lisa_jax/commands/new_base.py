"""Write a whole Stable Diffusion folder with random weights: to try a config before the real weights are there.

    python -m lisa_jax new_base --preset=sd21 --out=DIR [--seed=0]

It has the size, files and switches of the published checkpoint (5.2 GB for `sd21`, 4.3 GB for `sd15`, float32) and
loads in diffusers; what it draws is noise.
"""

from absl import flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.bounds import SEED

flags.DEFINE_enum(
    "preset",
    None,
    [
        *("sd15", "sd21", "sd21_v", "sdxl", "sd3_medium", "sd35_medium", "sd35_large"),
        *("svd", "svd_xt"),
        *(
            "tiny_sd15",
            "tiny_sd21",
            "tiny_sd21_v",
            "tiny_sdxl",
            "tiny_sd3_medium",
            "tiny_sd35_medium",
            "tiny_sd35_large",
            "tiny_svd",
        ),
    ],
    "Architecture; tiny_ ones have its switches at a thousandth of its size.",
)
DEFINE_checked("out", None, "Where the folder goes; it must not exist.", Folder())
DEFINE_checked("seed", 0, "Seed of the weights.", SEED)


def main() -> None:
    from lisa_jax.commands._work import new_base

    new_base.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["preset", "out"])
    run_command(main)
