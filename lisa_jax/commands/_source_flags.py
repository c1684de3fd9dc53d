"""Flags of the table that rows are read from, of the commands that read one."""

from absl import flags

from lisa_jax.commands._flags import DEFINE_checked
from lisa_jax.experiments.kinds import Text

# They are of the command that calls DEFINE_source, whose help tells them.
flags.disclaim_key_flags()


def DEFINE_source(where: str) -> None:
    """Define --source, with this help, and what chooses among its rows and says what they may name."""
    DEFINE_checked("source", None, where, Text())
    DEFINE_checked("subset", None, "Of a data set of the hub; by default the only one, or `default`.", Text())
    DEFINE_checked("split", None, "Of a data set of the hub; by default the only one, or `train`.", Text())
    flags.DEFINE_bool(
        "allow_outside",
        False,
        "Read pictures that a listing names outside of its own folder; only of people you trust.",
    )
