"""Networks of the toy video family: linear maps with tanh between them, in plain JAX.

Latents are (n, f, h, w, c). The context is a tree: `tokens` float32 (n, length, d), `pooled` float32 (n, p) and
`time_ids` int32 (n, 2), the frames a second and the number of frames.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params, Residuals, SideOutput, Tree

TIME_IDS = 2
BLOCKS = ("blocks_0", "blocks_1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes that the main network and its side networks share."""

    layers: ClassVar[int] = 0
    latent_channels: int = 4
    width: int = 8
    text_width: int = 6
    pooled_width: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class MainConfig(NetworkConfig):
    """Config of the main network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SideConfig(NetworkConfig):
    """Config of a side network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Config of the text encoder, which reads bytes."""

    layers: ClassVar[int] = 0
    length: int = 6
    width: int = 6
    pooled_width: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Config of the autoencoder, which makes one latent of `patch` frames, rows and columns."""

    layers: ClassVar[int] = 0
    patch: tuple[int, int, int] = (2, 2, 2)
    latent_channels: int = 4
    scaling_factor: float = 0.9


def main_shapes(config: MainConfig) -> Params:
    width = config.width
    return {
        "embed": _linear_shapes(config.latent_channels, width),
        "time": _linear_shapes(2, width),
        "tokens": _linear_shapes(config.text_width, width),
        "pooled": _linear_shapes(config.pooled_width, width),
        "time_ids": _linear_shapes(TIME_IDS, width),
        **{block: _linear_shapes(width, width) for block in BLOCKS},
        "head": _linear_shapes(width, config.latent_channels),
    }


def trunk(params: Params, x_t: jax.Array, t: jax.Array, context: Tree, dtype: jnp.dtype) -> Tree:
    """What control, which enters after every block, cannot reach: the embedded x_t and the conditioning vector."""
    time = jnp.stack([jnp.cos(t / 100), jnp.sin(t / 100)], axis=-1)
    vector = linear(params["time"], time) + linear(params["pooled"], context["pooled"])
    vector += linear(params["tokens"], jnp.tanh(context["tokens"]).mean(axis=1))
    vector += linear(params["time_ids"], context["time_ids"].astype(jnp.float32) / 10)
    return {"embedded": linear(params["embed"], x_t.astype(dtype)), "vector": vector.astype(dtype)}


def predict(params: Params, trunk: Tree, residuals: Residuals | None = None) -> jax.Array:
    hidden = trunk["embedded"]
    for number, block in enumerate(BLOCKS):
        hidden = _block(params[block], hidden, trunk["vector"])
        if residuals is not None:
            hidden += residuals[number]
    return linear(params["head"], hidden)


def joined(trunk: Tree) -> Residuals:
    return (trunk["embedded"],) * len(BLOCKS)


def side_shapes(config: SideConfig) -> Params:
    width = config.width
    return {
        "condition": _linear_shapes(config.latent_channels, width),
        **{block: _linear_shapes(width, width) for block in BLOCKS},
        **{f"zero_{block}": _linear_shapes(width, width) for block in BLOCKS},
    }


def side(params: Params, trunk: Tree, condition: jax.Array) -> SideOutput:
    """It begins with the main network's embedding of x_t; a feature and a residual a block, (n, f, h, w, width)."""
    hidden = trunk["embedded"] + linear(params["condition"], condition.astype(trunk["embedded"].dtype))
    features = {}
    for block in BLOCKS:
        features[block] = hidden = _block(params[block], hidden, trunk["vector"])
    residuals = tuple(linear(params[f"zero_{block}"], feature) for block, feature in features.items())
    return SideOutput(residuals, features)


def init_side(config: SideConfig, births: tuple[float, float], start: Params, key: jax.Array) -> Params:
    shapes, (condition, projections) = side_shapes(config), births
    scales = {name: projections if name.startswith("zero") else 1.0 for name in shapes} | {"condition": condition}
    fresh = {
        name: _random_linear(leaves, jax.random.fold_in(key, number), scales[name])
        for number, (name, leaves) in enumerate(shapes.items())
    }
    return fresh | {name: jax.tree.map(jnp.float32, start[name]) for name in fresh if name in start}


def init_decoder(config: SideConfig, key: jax.Array) -> Params:
    hidden, out = _linear_shapes(config.width, config.width), _linear_shapes(config.width, config.latent_channels)
    return {"hidden": _random_linear(hidden, key, scale=1.0), "out": _random_linear(out, key, scale=0.0)}


def decode_feature(decoder: Params, feature: jax.Array, t: jax.Array) -> jax.Array:
    hidden = linear(decoder["hidden"], feature) + jnp.sin(t / 100)[:, None, None, None, None].astype(feature.dtype)
    return linear(decoder["out"], jnp.tanh(hidden))


def text_shapes(config: TextConfig) -> Params:
    embedding = jax.ShapeDtypeStruct((256, config.width), jnp.float32)
    return {"tokens": {"embedding": embedding}, "pooled": _linear_shapes(config.width, config.pooled_width)}


def encode_text(params: Params, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens (n, length, d) and pooled (n, p) of bytes (n, length)."""
    tokens = params["tokens"]["embedding"][ids]
    return tokens, linear(params["pooled"], tokens.mean(axis=1))


def autoencoder_shapes(config: AutoencoderConfig) -> Params:
    pixels = 3 * math.prod(config.patch)
    return {
        "encoder": _linear_shapes(pixels, 2 * config.latent_channels),
        "decoder": _linear_shapes(config.latent_channels, pixels),
    }


def encode_video(config: AutoencoderConfig, params: Params, video: jax.Array) -> jax.Array:
    """Moments (n, f, h, w, 2c) of uint8 (n, F, H, W, 3)."""
    n, *space, _ = video.shape
    (f, h, w), (pf, ph, pw) = (size // part for size, part in zip(space, config.patch, strict=True)), config.patch
    patches = (video.astype(jnp.float32) / 127.5 - 1).reshape(n, f, pf, h, ph, w, pw, 3)
    return linear(params["encoder"], patches.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(n, f, h, w, -1))


def decode_video(config: AutoencoderConfig, params: Params, latents: jax.Array) -> jax.Array:
    """uint8 (n, F, H, W, 3) of latents (n, f, h, w, c)."""
    n, f, h, w, _ = latents.shape
    pf, ph, pw = config.patch
    patches = linear(params["decoder"], latents).reshape(n, f, h, w, pf, ph, pw, 3)
    video = patches.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, f * pf, h * ph, w * pw, 3)
    return jnp.round((jnp.tanh(video) + 1) * 127.5).astype(jnp.uint8)


def linear(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["kernel"].astype(x.dtype) + params["bias"].astype(x.dtype)


def _block(params: Params, hidden: jax.Array, vector: jax.Array) -> jax.Array:
    """Every place sees its frame, the mean of all frames, and the conditioning vector."""
    hidden = hidden + hidden.mean(axis=1, keepdims=True) + vector[:, None, None, None]
    return jnp.tanh(linear(params, hidden))


def _linear_shapes(inputs: int, outputs: int) -> Params:
    shapes = {"kernel": (inputs, outputs), "bias": (outputs,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def _random_linear(shapes: Params, key: jax.Array, scale: float) -> Params:
    kernel, bias = shapes["kernel"].shape, shapes["bias"].shape
    return {"kernel": scale * jax.random.normal(key, kernel) / math.sqrt(kernel[0]), "bias": jnp.zeros(bias)}
