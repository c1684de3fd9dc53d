"""A family on small pictures in a few lines of plain JAX.

The main network adds up x_t, the caption's words and the time, and looks at a neighbour's value, so that mixing up rows
would show. The side network's features are known mixtures, so that what is to be found in them is known too.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.dual_branch import DualBranch, Params, SideNetwork, SideOutput
from lisa_jax.families.abstract import not_read
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import UNIT_PICTURES, Family
from lisa_jax.families.pixels import PIXELS
from lisa_jax.families.usage import Usage
from lisa_jax.media.image import IMAGE
from lisa_jax.parallel.sharding import REPLICATED
from lisa_jax.processes import Process

SIZE = 8
SCHEDULER = {"prediction_type": "v_prediction", "beta_schedule": "scaled_linear", "clip_sample": False}
FROZEN = {"gain": 0.7, "words": 1.0, "time": 0.1, "neighbour": 0.3}
# Predicts half of x_t.
LINEAR = {"gain": 0.5, "words": 0.0, "time": 0.0, "neighbour": 0.0}
HOOKS = ("down_0", "mid")
WORDS = jax.ShapeDtypeStruct((2, 3), jnp.float32)


def family(
    conditions: Sequence[str] = ("edges",),
    *,
    frozen: Mapping[str, float] = FROZEN,
    process: Process | None = None,
    decoder_width: float = 1.0,
) -> Family:
    """The family, which is on no disk; `process` in place of the scheduler's."""
    weights, on_no_disk = jax.tree.map(jnp.float32, dict(frozen)), not_read("The toy")
    return Family(
        model=DualBranch(
            trunk, predict, lambda trunk: (trunk,), {name: side_network(decoder_width) for name in conditions}
        ),
        load_frozen=lambda: weights,
        process=process or process_of(SCHEDULER),
        scheduler=SCHEDULER,
        latents=PIXELS,
        conditioner=Conditioner(
            load_params=dict,
            read=words_of,
            encode=lambda params, words: words,
            null=lambda context, empty: jnp.broadcast_to(empty, context.shape),
            shapes=WORDS,
        ),
        condition=UNIT_PICTURES,
        medium=IMAGE,
        rules=REPLICATED,
        read_start=lambda: dict.fromkeys(conditions, weights),
        write_side=on_no_disk,
        write_main=on_no_disk,
        check_export=on_no_disk,
        usage=Usage("toy", ()),
        fingerprint="toy",
    )


def trunk(frozen: Params, x_t: jax.Array, t: jax.Array, context: jax.Array) -> jax.Array:
    words, time = jnp.tanh(context.mean(axis=1)), jnp.sin(t / 100)[:, None]
    return frozen["gain"] * x_t + (frozen["words"] * words + frozen["time"] * time)[:, None, None]


def predict(frozen: Params, trunk: jax.Array, residuals: tuple[jax.Array, ...] | None = None) -> jax.Array:
    hidden = trunk if residuals is None else trunk + residuals[0]
    return hidden + frozen["neighbour"] * jnp.tanh(jnp.roll(hidden, 1, axis=2))


def side_network(decoder_width: float = 1.0) -> SideNetwork:
    """Its decoders have twice `decoder_width` rows."""

    def init(start: Params, key: jax.Array) -> Params:
        params = side_params(x_t=start.get("gain", 1.0))
        params["trunk"]["condition"] = 0.1 * jax.random.normal(key, (3,))
        return params

    def init_decoder(key: jax.Array, hook: str) -> Params:
        return {"scale": jnp.zeros((round(2 * decoder_width), 3))}

    return SideNetwork(apply, init, decode, init_decoder, HOOKS, lambda params: {"trunk": params["trunk"]})


def side_params(*, condition: float = 1.0, x_t: float = 1.0, out: float = 0.0) -> Params:
    """Parameters of a side network: factors on what it sees, and on what it adds."""
    return {"trunk": {"condition": jnp.full(3, condition), "x_t": jnp.full(3, x_t)}, "out": jnp.full(3, out)}


def apply(
    params: Params, trunk: jax.Array, x_t: jax.Array, t: jax.Array, context: jax.Array, condition: jax.Array
) -> SideOutput:
    """down_0: condition, x_t and time at full size; mid: x_t at half size. It adds the first two."""
    seen, noisy = params["trunk"]["condition"] * condition, params["trunk"]["x_t"] * x_t
    n, height, width, _ = x_t.shape
    time = jnp.broadcast_to(t[:, None, None, None] / 1000, (n, height, width, 1))
    half = noisy.reshape(n, height // 2, 2, width // 2, 2, -1).mean(axis=(2, 4))
    features = {"down_0": jnp.concatenate([seen, noisy, time], axis=-1), "mid": half}
    return SideOutput((params["out"] * (seen + noisy),), features)


def decode(decoder: Params, feature: jax.Array, t: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A feature's first three channels, each times a number."""
    factor = shape[1] // feature.shape[1]
    return decoder["scale"].sum(axis=0) * feature[..., :3].repeat(factor, axis=1).repeat(factor, axis=2)


def words_of(examples: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Random words, float32 (n, 2, 3), the same for the same caption."""
    seeds = [zlib.crc32(example["caption"].encode()) for example in examples]
    return np.stack([np.random.default_rng(seed).standard_normal(WORDS.shape) for seed in seeds]).astype(np.float32)
