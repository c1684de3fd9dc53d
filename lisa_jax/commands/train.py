"""Train side networks beside a frozen main network.

    python -m lisa_jax train --config=configs/openmoji_lineart.py --workdir=DIR [--config.field=value]

The same command continues an interrupted run from its newest checkpoint. SIGTERM or Ctrl-C saves and leaves, with exit
status 75; a second Ctrl-C leaves at once.
"""

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command

config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
DEFINE_checked("workdir", None, "Where checkpoints, logs and previews go.", Folder())


def main() -> None:
    from lisa_jax.commands._work import train

    train.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main, kept="leaving before a step was done; nothing is lost, and the same command goes on.")
