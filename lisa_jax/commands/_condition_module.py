"""The flag by which commands that open a work directory are told which modules of its config they may run."""

from absl import flags

# It is of the command that calls DEFINE_condition_module, whose help tells it.
flags.disclaim_key_flags()


def DEFINE_condition_module() -> None:
    """Define --condition_module, a list."""
    flags.DEFINE_list(
        "condition_module",
        [],
        "Conditions module:function of the run's config whose modules may be imported, that is run; from PYTHONPATH.",
    )
