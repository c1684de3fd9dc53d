"""OpenMoji drawings with their line art: the data set that needs no download (drawings by OpenMoji, CC BY-SA 4.0)."""

from lisa_jax.data.embedded.openmoji.source import load_openmoji
from lisa_jax.data.embedded.records import CorruptRecordError

__all__ = ["CorruptRecordError", "load_openmoji"]
