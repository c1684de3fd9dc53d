"""Train a small main network from scratch, with the loop that trains side networks.

    python -m lisa_jax pretrain --config=configs/openmoji_base.py --workdir=DIR [--config.field=value]

Writes the base to DIR/base.
"""

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command

config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
DEFINE_checked("workdir", None, "Where checkpoints, logs and the base go.", Folder())


def main() -> None:
    from lisa_jax.commands._work import pretrain

    pretrain.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main, kept="leaving; nothing is lost, and the same command goes on.")
