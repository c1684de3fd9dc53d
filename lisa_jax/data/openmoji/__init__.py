"""OpenMoji drawings with their line art: the data set that needs no download (drawings by OpenMoji, CC BY-SA 4.0)."""

from lisa_jax.data.openmoji.source import load_openmoji
from lisa_jax.data.records import CorruptRecordError

__all__ = ["CorruptRecordError", "load_openmoji"]
