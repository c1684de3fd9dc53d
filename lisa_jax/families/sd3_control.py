"""Side networks beside the transformer of Stable Diffusion 3 and 3.5, as pure functions."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import Params, Residuals, SideNetwork, SideOutput
from lisa_jax.families.family import USUAL_BIRTHS, Births
from lisa_jax.families.feature_decoders import decoder_functions
from lisa_jax.families.side_networks import all_but, start_params
from lisa_jax.models.sd3_controlnet import SD3ControlNet, SD3ControlNetConfig, feature_names, residual_index
from lisa_jax.models.sd3_transformer import SD3Transformer, SD3TransformerConfig, SD3Trunk

# Tokens of zeros that stand for T5's where it is absent; they take part in attention (diffusers' pipelines).
ABSENT_T5_LENGTH = 256
# Layers of a side network that its transformer has none of: group -> pattern of their paths.
FRESH_LAYERS = {"zero_convolutions": r"controlnet_blocks_", "condition_embedding": r"pos_embed_input/"}
# Two tables of positions are one where they differ by less: bfloat16 keeps sines and cosines to 1/512.
TABLE_ROUNDING = 2**-8


def assembled(context: Mapping[str, jax.Array], width: int, absent_t5_length: int) -> dict[str, jax.Array]:
    """What the networks see of a text, of what its encoders say.

    Args:
      context: "clip" (n, l, c) features of both CLIP encoders side by side, c at most `width`; "pooled" (n, p); "t5"
        (n, m, width) where there are such features.
      width: of a text token.
      absent_t5_length: how many tokens of zeros stand for T5's where there are none.

    Returns:
      "tokens" (n, l + m, width): CLIP's filled up with zeros, then T5's; and "pooled" as it is.
    Raises:
      ValueError: features that are too wide.
    """
    clip = context["clip"]
    if clip.shape[-1] > width:
        raise ValueError(f"text features of width {clip.shape[-1]} do not fit text tokens of width {width}.")
    clip = jnp.pad(clip, ((0, 0), (0, 0), (0, width - clip.shape[-1])))
    absent = jnp.zeros((clip.shape[0], absent_t5_length, width), clip.dtype)
    return {"tokens": jnp.concatenate([clip, context.get("t5", absent)], axis=1), "pooled": context["pooled"]}


def transformer_functions(
    config: SD3TransformerConfig,
    dtype: jnp.dtype = jnp.float32,
    remat: str = "none",
    attention: str = "auto",
    absent_t5_length: int = ABSENT_T5_LENGTH,
) -> tuple[Callable[..., SD3Trunk], Callable[..., jax.Array], Callable[[SD3Trunk], Residuals]]:
    """`trunk`, `predict` and `joined` of a transformer, see `DualBranch`; `context` as `assembled` takes it."""
    transformer = SD3Transformer(config, dtype, remat, attention)

    def trunk(frozen: Params, x_t: jax.Array, t: jax.Array, context: Mapping[str, jax.Array]) -> SD3Trunk:
        text = assembled(context, config.joint_attention_dim, absent_t5_length)
        return transformer.apply({"params": frozen}, x_t, t, text, method="encode")

    def predict(frozen: Params, trunk: SD3Trunk, residuals: Residuals | None = None) -> jax.Array:
        return transformer.apply({"params": frozen}, trunk, residuals, method="decode")

    def joined(trunk: SD3Trunk) -> Residuals:
        return (trunk.hidden,) * (config.num_layers - 1)

    return trunk, predict, joined


def sd3_side(
    config: SD3ControlNetConfig,
    main: SD3TransformerConfig,
    dtype: jnp.dtype = jnp.float32,
    remat: str = "none",
    attention: str = "auto",
    decoder_width: float = 1.0,
    births: Births = USUAL_BIRTHS,
    absent_t5_length: int = ABSENT_T5_LENGTH,
    vae_shift: float = 0.0,
) -> SideNetwork:
    """A side network of the transformer `main`; `context` as `assembled` takes it.

    It gives a residual for each block of the transformer that takes one, so that side networks of different depths can
    be summed. Its parameters are without the table of positions, which nothing trains: it adds the transformer's (see
    `with_table`). Where its config forces zeros for pooled text, it sees zeros, and conditions without `vae_shift`,
    which was subtracted from them in model space: as in diffusers' pipelines.

    Raises:
      ValueError: a side network that does not fit the transformer, by field.
    """
    check_fits(config, main)
    network = SD3ControlNet(config, dtype, remat, attention, births.condition, births.zero)
    spread, hooks = residual_index(main.num_layers, config.num_layers), feature_names(config)
    # Two patches in a row, whatever their size.
    size = 2 * config.patch_size

    def text_of(context: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        pooled = context["pooled"]
        context = dict(context) | {"pooled": 0 * pooled if config.force_zeros_for_pooled_projection else pooled}
        if config.joint_attention_dim is None:
            return context
        return assembled(context, config.joint_attention_dim, absent_t5_length)

    def apply(
        params: Params,
        trunk: SD3Trunk,
        x_t: jax.Array,
        t: jax.Array,
        context: Mapping[str, jax.Array],
        condition: jax.Array,
    ) -> SideOutput:
        if config.force_zeros_for_pooled_projection:
            condition = condition + vae_shift
        inputs = (trunk.embedded, x_t, t, text_of(context), condition, trunk.positions)
        residuals, features = network.apply({"params": params}, *inputs)
        return SideOutput(tuple(residuals[i] for i in spread), features)

    def init(start: Params, key: jax.Array) -> Params:
        grid = jnp.zeros((1, 2, 2, config.width))
        x_t, condition = (jnp.zeros((1, size, size, c)) for c in (config.in_channels, config.condition_channels))
        pooled = jnp.zeros((1, config.pooled_projection_dim))
        text = {"tokens": jnp.zeros((1, 1, config.joint_attention_dim or 1)), "pooled": pooled}
        return start_params(network.init(key, grid, x_t, jnp.zeros((1,)), text, condition, grid)["params"], start)

    shapes, latents = dict.fromkeys(hooks, (2, 2, config.width)), (size, size, main.predicted_channels)
    decoders = decoder_functions(shapes, latents, dtype, decoder_width)
    return SideNetwork(apply, init, *decoders, hooks, all_but(FRESH_LAYERS["zero_convolutions"]), FRESH_LAYERS)


def check_fits(config: SD3ControlNetConfig, main: SD3TransformerConfig) -> None:
    """Raise ValueError, by field, for a side network that does not fit a transformer."""
    names = ["in_channels", "patch_size", "width", "pooled_projection_dim"]
    names += ["joint_attention_dim"] if config.joint_attention_dim is not None else []
    names += ["pos_embed_max_size"] if config.table_size is not None else []
    for name in names:
        ours, theirs = getattr(config, name), getattr(main, name)
        if ours != theirs:
            raise ValueError(
                f"the side network has {name} {ours}, but the transformer {theirs}: it belongs to another base."
            )
    residual_index(main.num_layers, config.num_layers)


def with_table(config: SD3ControlNetConfig, side: Params, main: Params) -> Params:
    """Side parameters as a checkpoint holds them: with the table of positions of the transformer's parameters."""
    if config.table_size is None:
        return side
    return side | {"pos_embed": side["pos_embed"] | {"pos_embed": main["pos_embed"]["pos_embed"]}}


def check_table(config: SD3ControlNetConfig, side: Params, main: Params) -> None:
    """Raise ValueError for side parameters, as a checkpoint holds them, with another table than the transformer's."""
    if config.table_size is None:
        return
    ours, theirs = (np.asarray(params["pos_embed"]["pos_embed"], np.float32) for params in (side, main))
    difference = float(np.abs(ours - theirs).max())
    if difference > TABLE_ROUNDING:
        raise ValueError(
            f"the side network's pos_embed.pos_embed differs from the transformer's by up to {difference:.2g}: it "
            "belongs to another base."
        )
