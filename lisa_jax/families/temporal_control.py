"""ControlNets of videos beside a UNet of videos, as pure functions."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params, SideNetwork, SideOutput, Tree
from lisa_jax.families.family import USUAL_BIRTHS, Births
from lisa_jax.families.feature_decoders import Shape, decoder_functions
from lisa_jax.families.side_networks import all_but, start_params
from lisa_jax.families.unet_control import FRESH_LAYERS
from lisa_jax.models.controlnet import feature_shapes
from lisa_jax.models.temporal import frames_as_rows, rows_as_frames
from lisa_jax.models.temporal_controlnet import TemporalControlNet, TemporalControlNetConfig
from lisa_jax.models.temporal_encoder import VideoContext

# The network time 0.25 ln sigma goes from -1.6 to 1.6 (sigma from 0.002 to 700), where all but the fastest of the
# decoder's sinusoids would stand still: they were made for steps up to 1000.
DECODER_TIME = 300.0


def temporal_side(
    config: TemporalControlNetConfig,
    dtype: jnp.dtype = jnp.float32,
    remat: str = "none",
    attention: str = "auto",
    decoder_width: float = 1.0,
    births: Births = USUAL_BIRTHS,
) -> SideNetwork:
    """A ControlNet of videos; its decoders predict the latents of every frame from that frame's feature."""
    network = TemporalControlNet(config, dtype, remat, attention, *births)
    # Only the ratio of latents to feature matters to the decoders' parameters.
    size = 2 ** (config.levels + 2)
    shapes = feature_shapes(config, size, size)

    def apply(
        params: Params, trunk: Tree, x_t: jax.Array, t: jax.Array, context: VideoContext, condition: jax.Array
    ) -> SideOutput:
        del trunk
        return SideOutput(*network.apply({"params": params}, x_t, t, context, condition))

    def init(start: Params, key: jax.Array) -> Params:
        picture = size * config.conditioning_downsampling
        inputs = (
            jnp.zeros((1, 1, size, size, config.out_channels)),
            jnp.zeros((1,)),
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), config.context_shapes(size, size)),
            jnp.zeros((1, 1, picture, picture, config.conditioning_channels)),
        )
        return start_params(network.init(key, *inputs)["params"], start)

    decoders = frame_decoder_functions(shapes, (size, size, config.out_channels), dtype, decoder_width)
    return SideNetwork(apply, init, *decoders, tuple(shapes), all_but(FRESH_LAYERS["zero_convolutions"]), FRESH_LAYERS)


def frame_decoder_functions(
    shapes: Mapping[str, Shape], latent_shape: Shape, dtype: jnp.dtype, width: float
) -> tuple[Callable[..., jax.Array], Callable[[jax.Array, str], Params]]:
    """`decode` and `init_decoder` of a side network of videos: those of pictures, frame by frame.

    Arguments as of `decoder_functions`, shapes without the frames.
    """
    decode_frames, init_decoder = decoder_functions(shapes, latent_shape, dtype, width)

    def decode(decoder: Params, feature: jax.Array, t: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        rows, frames = frames_as_rows(feature), feature.shape[1]
        times = DECODER_TIME * jnp.repeat(t, frames)
        return rows_as_frames(decode_frames(decoder, rows, times, (len(rows), *shape[2:])), frames)

    return decode, init_decoder
