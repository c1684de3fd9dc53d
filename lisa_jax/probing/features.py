"""Side features and what they are probed for, at sampled pixels and fixed noise levels."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.alignment import NoisySample
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.parallel.compiling import Announced
from lisa_jax.probing.pictures import BATCH_SIZE, Pictures
from lisa_jax.processes import Process

# Of the training distribution of noise levels; larger is noisier.
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
PIXELS = 64
Size = tuple[int, int]


def time_at(process: Process, quantile: float) -> jax.Array:
    """The noise level, a scalar in the process's own unit, below which this share of training's noise levels lies."""
    times = jnp.sort(process.sample_t(jax.random.key(0), 2**16))
    return times[int(quantile * times.size)]


def noisy_sample(process: Process, latents: jax.Array, noise: jax.Array, t: jax.Array) -> NoisySample:
    """Latents and noise (n, h, w, c) at one noise level, a scalar."""
    times = jnp.broadcast_to(t, latents.shape[:1])
    return NoisySample(process.perturb(latents, noise, times), times, process.target(latents, noise, times))


def area_average(pictures: jax.Array, size: Size) -> jax.Array:
    """Average (n, H, W, c) over the h x w cells of a grid of equal cells, float32 (n, h, w, c).

    Where the sizes do not divide, a pixel on a border counts for both cells by the area that it has in each.
    """
    rows, columns = (_overlaps(old, new) for old, new in zip(pictures.shape[1:3], size, strict=True))
    return jnp.einsum("hH,nHWc,wW->nhwc", rows, pictures.astype(jnp.float32), columns)


def _overlaps(old: int, new: int) -> np.ndarray:
    """(new, old) float32: the share of every new cell that each old cell covers."""
    new_edges, old_edges = np.linspace(0, 1, new + 1), np.linspace(0, 1, old + 1)
    ends = np.minimum(new_edges[1:, None], old_edges[None, 1:])
    starts = np.maximum(new_edges[:-1, None], old_edges[None, :-1])
    return (new * np.maximum(ends - starts, 0)).astype(np.float32)


def sample_pixels(maps: jax.Array, index: jax.Array) -> jax.Array:
    """PIXELS different pixels of each map, or all where there are fewer: (n, h, w, c) -> (n, pixels, c).

    Which ones depends on the example's index (n,) and on h and w alone.
    """
    count, height, width, channels = maps.shape

    def places(one: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(0), one)
        return jax.random.permutation(key, height * width)[:PIXELS]

    return jnp.take_along_axis(maps.reshape(count, -1, channels), jax.vmap(places)(index)[..., None], axis=1)


def named_features(features: Mapping[str, Mapping[str, jax.Array]]) -> dict[str, jax.Array]:
    """Features (n, h, w, c) of hooks and side networks by one name, hook/side network; the hook's where one is all."""
    return {
        f"{hook}/{side}" if len(by_side) > 1 else hook: array
        for hook, by_side in features.items()
        for side, array in by_side.items()
    }


def feature_sizes(
    model: DualBranch, process: Process, frozen: Params, side: Params, pictures: Pictures
) -> dict[str, Size]:
    """(h, w) of every named feature for pictures of this size; computes nothing."""

    def features(frozen: Params, side: Params, inputs: Mapping[str, Any]) -> dict[str, jax.Array]:
        t = process.network_time(process.sample_t(jax.random.key(0), 1))
        return named_features(_side(model, frozen, side, inputs["latents"], t, inputs))

    shapes = jax.eval_shape(features, frozen, side, pictures.rows(slice(1)).inputs())
    return {name: leaf.shape[1:3] for name, leaf in shapes.items()}


def make_features(model: DualBranch, process: Process) -> Callable[..., Any]:
    """((frozen, side), pictures, t, level) -> what is taken of every named feature, each (pixels, means).

    t is the noise level, `level` its number, which the noise depends on. Pixels are numpy float32 (n, PIXELS, c), means
    over all pixels (n, c).
    """

    def features(
        params: tuple[Params, Params], inputs: Mapping[str, Any], index: jax.Array, t: jax.Array, noise: jax.Array
    ) -> Any:
        noisy = noisy_sample(process, inputs["latents"], noise, t)
        x_t, time = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
        found = _side(model, *params, x_t, time, inputs)
        maps = {name: one.astype(jnp.float32) for name, one in named_features(found).items()}
        return {name: (sample_pixels(one, index), one.mean(axis=(1, 2))) for name, one in maps.items()}

    return _by_batches(Announced(features, "the side network's features", position=1))


def _side(
    model: DualBranch, frozen: Params, side: Params, x_t: jax.Array, t: jax.Array, inputs: Mapping[str, Any]
) -> Mapping[str, Mapping[str, jax.Array]]:
    """Side features by hook and side network."""
    trunk = model.trunk(frozen, x_t, t, inputs["context"])
    whole = model.complete(side, frozen)
    return model.side(whole, trunk, x_t, t, inputs["context"], inputs["condition"]).features


def make_targets(model: DualBranch, process: Process) -> Callable[..., Any]:
    """(frozen, pictures, t, level, sizes) -> size -> target -> numpy float32 (n, PIXELS, k).

    The pixels are those of `make_features`. Targets, each averaged over the cells of a grid of the size:
      condition: what a side network sees; where there are several `condition/<name>` each.
      clean: the clean latents x_0.
      gap: target - prior, what the main network does not explain. At one noise level the likelihood score is a number
        times its conditional mean.
    """

    def targets(
        frozen: Params,
        inputs: Mapping[str, Any],
        index: jax.Array,
        t: jax.Array,
        noise: jax.Array,
        sizes: tuple[Size, ...],
    ) -> Any:
        latents, condition = inputs["latents"], inputs["condition"]
        noisy = noisy_sample(process, latents, noise, t)
        x_t, time = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
        output = model.predict(frozen, model.trunk(frozen, x_t, time, inputs["context"]))
        prior = process.regressed(output, noisy.x_t, noisy.t)
        maps = {"clean": latents, "gap": noisy.target - prior}
        maps |= {f"condition/{name}" if len(condition) > 1 else "condition": one for name, one in condition.items()}
        return {
            size: {name: sample_pixels(area_average(one, size), index) for name, one in maps.items()} for size in sizes
        }

    return _by_batches(Announced(targets, "what is probed for", position=1, static_argnames="sizes"))


def _by_batches(program: Callable[..., Any]) -> Callable[..., Any]:
    """From a program of (params, inputs, index, t, noise) to one of (params, pictures, t, level) for any number."""

    def run(params: Params, pictures: Pictures, t: jax.Array, level: int, **static: Any) -> Any:
        found = []
        for batch in pictures.batches():
            # Filled up to one size, so that one compiled program serves all.
            filled = batch.rows(np.arange(BATCH_SIZE) % len(batch))
            rows = program(params, filled.inputs(), jnp.asarray(filled.index), t, filled.noise(level), **static)
            found.append([np.asarray(leaf)[: len(batch)] for leaf in jax.tree.leaves(rows)])
        columns = [np.concatenate(leaves) for leaves in zip(*found, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(rows), columns)

    return run
