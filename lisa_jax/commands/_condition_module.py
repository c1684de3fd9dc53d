"""The flag by which commands that open a work directory are told which modules of its config they may run."""

from absl import flags

CONDITION_MODULE = flags.DEFINE_list(
    "condition_module",
    [],
    "Conditions module:function of the run's config whose modules may be imported, that is run; from PYTHONPATH.",
)
