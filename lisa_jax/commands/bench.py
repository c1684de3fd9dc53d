"""Time the training step of a config: images/s, step times, waiting for data, memory, and the share of the chip's peak.

    python -m lisa_jax bench --config=configs/sd21_lisa.py --preset=sd21 --config.batch_size=32 --config.accumulate=1
    python -m lisa_jax bench --config=configs/openmoji_lineart.py

With --preset, or where the config's base is not there and its field `preset` names one, the architecture is the
preset's, its weights and its one batch of cached latents, contexts and conditions are random: no checkpoint and no data
are needed, nor the packages that read data; the input pipeline is left out. Else the base and the data of the config
are read, and batches come through the pipeline. The first line says which. Nothing is saved.
--profile=DIR also writes a trace of three steps, for TensorBoard or Perfetto.

Every phase is told when it is reached, and with --phases=FILE written as a line of JSON. On a machine that is lent for
a short time, --seconds=N ends the command (exit status 4) wherever it is, and what was reached is kept; with
JAX_COMPILATION_CACHE_DIR=DIR the next one finds the programs that were compiled.
"""

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import COUNT, DEFINE_checked, Folder, NewFile
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.kinds import Number, Text

config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
DEFINE_checked(
    "preset",
    None,
    "Architecture with random weights, of lisa_jax.families.presets; the config's where its base is missing.",
    Text(),
)
DEFINE_checked("warmup", 3, "Steps before the timed ones.", COUNT)
DEFINE_checked("steps", 20, "Timed steps.", COUNT)
DEFINE_checked("profile", None, "Directory for a trace of three steps.", Folder())
DEFINE_checked("phases", None, "File to which a line of JSON is added for each phase.", NewFile())
DEFINE_checked("seconds", None, "Ends the command after so many seconds; never by default.", Number(above=0))
DEFINE_checked("out", None, "JSON file for the numbers.", NewFile())


def main() -> None:
    from lisa_jax.commands._work import bench

    bench.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    run_command(main)
