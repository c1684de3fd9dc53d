"""How the toy video family's networks lie in a checkpoint."""

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import DiffusersConfig
from toys.video.networks import (
    AutoencoderConfig,
    MainConfig,
    SideConfig,
    TextConfig,
    autoencoder_shapes,
    main_shapes,
    side_shapes,
    text_shapes,
)

_CONTAINERS = ("blocks", "zero_blocks")

MAIN = Component(DiffusersConfig("VideoToyTransformer", MainConfig, {}), main_shapes, _CONTAINERS)
SIDE = Component(DiffusersConfig("VideoToySideNetwork", SideConfig, {}), side_shapes, _CONTAINERS)
TEXT = Component(DiffusersConfig("VideoToyTextEncoder", TextConfig, {}), text_shapes, ())
AUTOENCODER = Component(DiffusersConfig("VideoToyAutoencoder", AutoencoderConfig, {}), autoencoder_shapes, ())
