"""Small bases on pixels to be pretrained: a new kind is a file beside this one and a line in `NEW_BASES`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from lisa_jax.families import pixel_base, sd3_pixel_base, svd_pixel_base

# Group of a pretraining config that describes the main network -> (folder, config, captions) writes a new base.
NEW_BASES: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "unet": pixel_base.write_new_base,
        "transformer": sd3_pixel_base.write_new_base,
        "temporal_unet": svd_pixel_base.write_new_base,
    }
)
