"""The parts of a checkpoint as Orbax writes them, a folder each, with checksums of its files.

Orbax calls `finalize` in one process, in the background, once all processes have written and before the checkpoint has
its final name: one that is whole has its checksums.
"""

import jax
import orbax.checkpoint as ocp
from etils import epath

from lisa_jax.training.checksums import write_checksums

# Orbax lets every device write a slice of what stands on all of them. Below this size the slicing itself, one small
# compiled program a shape, would hold up training for longer than the copy.
_SMALLEST_SLICE_BYTES = 2**20


class StateHandler(ocp.PyTreeCheckpointHandler):
    """A tree of arrays."""

    def __init__(self):
        arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_SMALLEST_SLICE_BYTES)
        registry = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
        super().__init__(type_handler_registry=registry)

    def finalize(self, directory: epath.Path) -> None:
        super().finalize(directory)
        write_checksums(directory)


class ValuesHandler(ocp.JsonCheckpointHandler):
    """JSON values by name."""

    def finalize(self, directory: epath.Path) -> None:
        super().finalize(directory)
        write_checksums(directory)


# By the class of its arguments Orbax finds a part's handler.


@ocp.args.register_with_handler(StateHandler, for_save=True)
class SaveState(ocp.args.PyTreeSave):
    """Arguments of saving a tree."""


@ocp.args.register_with_handler(StateHandler, for_restore=True)
class RestoreState(ocp.args.PyTreeRestore):
    """Arguments of reading one."""


@ocp.args.register_with_handler(ValuesHandler, for_save=True)
class SaveValues(ocp.args.JsonSave):
    """Arguments of saving values."""


@ocp.args.register_with_handler(ValuesHandler, for_restore=True)
class RestoreValues(ocp.args.JsonRestore):
    """Arguments of reading them."""
