"""Short clips of OpenMoji drawings that move over backgrounds, with exact line art and masks; needs no download.

Drawings by OpenMoji, CC BY-SA 4.0.
"""

from lisa_jax.data.embedded.openmoji_video.source import load_openmoji_video

__all__ = ["load_openmoji_video"]
