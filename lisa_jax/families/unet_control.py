"""ControlNets beside a UNet, and smaller side networks, as pure functions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params, Residuals, SideNetwork, SideOutput, Tree
from lisa_jax.families.family import USUAL_BIRTHS, Births
from lisa_jax.families.feature_decoders import decoder_functions
from lisa_jax.families.side_networks import all_but, start_params
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig, feature_shapes
from lisa_jax.models.encoder import Context
from lisa_jax.models.temporal_encoder import VideoContext
from lisa_jax.models.temporal_unet import TemporalUNet
from lisa_jax.models.unet import Trunk, UNet

# Layers of a ControlNet that its UNet has none of: group -> pattern of their paths.
FRESH_LAYERS = {
    "zero_convolutions": r"controlnet_(down_blocks|mid_block)",
    "condition_embedding": r"controlnet_cond_embedding/",
}


def unet_functions(
    unet: UNet | TemporalUNet,
) -> tuple[Callable[..., Trunk], Callable[..., jax.Array], Callable[[Trunk], Residuals]]:
    """`trunk`, `predict` and `joined` of a UNet of pictures or of videos, see `DualBranch`.

    Control enters the UNet's skips after its down path and its hidden state after its mid block, so conv_in, time
    embedding, down and mid blocks are the trunk.
    """

    def trunk(frozen: Params, x_t: jax.Array, t: jax.Array, context: Context | VideoContext) -> Trunk:
        return unet.apply({"params": frozen}, x_t, t, context, method="encode")

    def predict(frozen: Params, trunk: Trunk, residuals: Residuals | None = None) -> jax.Array:
        return unet.apply({"params": frozen}, trunk, residuals, method="decode")

    def joined(trunk: Trunk) -> Residuals:
        return (*trunk.skips, trunk.hidden)

    return trunk, predict, joined


def controlnet_side(
    config: ControlNetConfig,
    latent_channels: int,
    dtype: jnp.dtype = jnp.float32,
    remat: str = "none",
    attention: str = "auto",
    decoder_width: float = 1.0,
    births: Births = USUAL_BIRTHS,
    condition_scale: int = 1,
) -> SideNetwork:
    """A ControlNet, or a smaller side network, whose decoders predict latents of so many channels.

    A pixel of the condition is repeated to `condition_scale` in width and height before the network sees it.
    """
    network = ControlNet(config, dtype, remat, attention, *births)
    # Only the ratio of latents to feature matters to the decoders' parameters.
    size = 2 ** (len(config.unet_levels[0]) + 2)
    shapes = feature_shapes(config, size, size)

    def apply(
        params: Params, trunk: Tree, x_t: jax.Array, t: jax.Array, context: Context, condition: jax.Array
    ) -> SideOutput:
        del trunk
        if condition_scale > 1:
            condition = condition.repeat(condition_scale, axis=1).repeat(condition_scale, axis=2)
        return SideOutput(*network.apply({"params": params}, x_t, t, context, condition))

    def init(start: Params, key: jax.Array) -> Params:
        picture = size * config.conditioning_downsampling
        inputs = (
            jnp.zeros((1, size, size, config.in_channels)),
            jnp.zeros((1,)),
            jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), config.context_shapes),
            jnp.zeros((1, picture, picture, config.conditioning_channels)),
        )
        return start_params(network.init(key, *inputs)["params"], start)

    decoders = decoder_functions(shapes, (size, size, latent_channels), dtype, decoder_width)
    return SideNetwork(apply, init, *decoders, tuple(shapes), all_but(FRESH_LAYERS["zero_convolutions"]), FRESH_LAYERS)
