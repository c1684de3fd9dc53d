"""Samples of a family: the one path that previews, `sample` and `evaluate` share."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import Family
from lisa_jax.media.video import VIDEO
from lisa_jax.parallel.compiling import Announced
from lisa_jax.parallel.sharding import make_mesh, replicated, split_rows
from lisa_jax.sampling.guidance import Control, check_window, guided_predict, scales_of_frames
from lisa_jax.sampling.noise import GENERATOR, initial_noise, row_keys
from lisa_jax.sampling.samplers.sampler import make_sampler

PerSide = float | Mapping[str, float]


def make_generator(
    family: Family,
    *,
    sampler: str = "ddim",
    num_steps: int,
    guidance_scale: float,
    min_guidance_scale: float | None = None,
    decode_chunk: int | None = None,
    control_scale: PerSide = 1.0,
    control_start: PerSide = 0.0,
    control_end: PerSide = 1.0,
    guess_mode: bool = False,
    negative_prompt: str = "",
    batch_size: int = 16,
) -> "Generator":
    """Make a generator of samples.

    Args:
      family: model, process, latent space, conditioner and scheduler config.
      sampler: ddim, euler or dpmpp_2m; see `make_sampler`.
      num_steps: network evaluations a sample.
      guidance_scale: classifier-free guidance towards the context; 1 is none.
      min_guidance_scale: of the first frame of videos, from which it rises evenly to `guidance_scale` of the last one;
        None: all frames have the same.
      decode_chunk: frames of videos that are decoded together; None: as many as the family's latent space takes.
      control_scale: factor on the side networks' residuals. This and the two below are one number for all side
        networks, or numbers by name.
      control_start, control_end: the part of the steps in which a side network acts.
      guess_mode: see `guided_predict`; of families that have one.
      negative_prompt: what guidance leads away from.
      batch_size: examples at a time; changes no sample.

    Raises:
      ValueError: a setting out of its range or of other families, or numbers that are not by the side networks' names.
    """
    if guess_mode and not family.guess_mode:
        raise ValueError(
            "guess_mode is true, but diffusers' pipelines of this kind of base have no guess mode: leave it at false."
        )
    _check_of_videos(family, min_guidance_scale=min_guidance_scale, decode_chunk=decode_chunk)
    guided = guidance_scale != 1 or min_guidance_scale not in (None, 1)
    windows = _windows(family, control_scale=control_scale, control_start=control_start, control_end=control_end)
    negative = _negative_contexts(family, negative_prompt, guided=guided)
    chosen = make_sampler(sampler, family.process, family.scheduler, num_steps, family.patch_size)
    mesh, space = make_mesh(), family.latents
    if decode_chunk and space.in_chunks_of:
        space = space.in_chunks_of(decode_chunk)

    def latents(params: SamplingParams, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        context, null = _contexts(family.conditioner, params.latents, batch, guided=guided)
        scale = guidance_scale
        if min_guidance_scale is not None:
            scale = scales_of_frames(min_guidance_scale, guidance_scale, batch["x_T"].shape[1])
        predict = guided_predict(
            family.model,
            family.process,
            params.frozen,
            _controls(family, windows, params, batch["condition"]),
            num_steps=num_steps,
            context=context,
            null_context=null,
            guidance_scale=scale,
            guess_mode=guess_mode,
        )
        found = chosen.sample(predict, batch["x_T"])
        return found, _all_finite(found)

    def decoded(params: SamplingParams, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        found, finite = latents(params, batch)
        return space.decode(params.latents, found), finite

    return Generator(
        family,
        batch_size,
        guided=guided,
        negative=negative,
        mesh=mesh,
        # Every process reads the whole result.
        sample_latents=Announced(jax.jit(latents, out_shardings=replicated(mesh)), "the sampler", position=1),
        sample_decoded=Announced(jax.jit(decoded, out_shardings=replicated(mesh)), "the sampler", position=1),
    )


def _check_of_videos(family: Family, **settings: float | None) -> None:
    """Raise ValueError for a setting of frames that is given to a base of images."""
    for name, value in settings.items():
        if value is not None and family.medium.axes != VIDEO.axes:
            raise ValueError(f"{name} is of videos and their frames, but this base makes images.")


def _contexts(
    conditioner: Conditioner, params: Params, batch: Mapping[str, Any], *, guided: bool
) -> tuple[Tree, Tree | None]:
    """What the networks see of a batch's contexts, and what guidance leads away from."""
    context, negative = batch["context"], batch.get("negative")
    if conditioner.draw is None:
        return context, negative
    keys = jax.random.wrap_key_data(batch["key_data"], impl=GENERATOR)
    context = conditioner.draw(params, context, keys, training=False)
    if negative is not None:
        return context, conditioner.draw(params, negative, keys, training=False)
    return context, conditioner.null(context, conditioner.empty) if guided else None


def _all_finite(rows: jax.Array) -> jax.Array:
    """Of each row, whether all of it is numbers; bool (n,)."""
    return jnp.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))


def _negative_contexts(family: Family, prompt: str, *, guided: bool) -> Tree | None:
    """The context of a negative prompt, (1, ...); None of an empty one."""
    if not prompt:
        return None
    if not guided:
        raise ValueError("negative_prompt does nothing at guidance_scale 1: give another guidance_scale, or no prompt.")
    return family.conditioner.of_captions([prompt])


def _windows(family: Family, **settings: PerSide) -> dict[str, tuple[float, ...]]:
    """Scale, start and end of every side network, by its name."""
    names = tuple(family.model.sides)
    values = [_by_name(setting, value, names) for setting, value in settings.items()]
    windows = {name: tuple(value[name] for value in values) for name in names}
    for _, start, end in windows.values():
        check_window(start, end)
    return windows


def _controls(
    family: Family,
    windows: Mapping[str, tuple[float, ...]],
    params: "SamplingParams",
    condition: Mapping[str, jax.Array],
) -> list[Control]:
    if params.side is None:
        return []
    # Where side networks see latents, always the same are drawn.
    key = jax.random.key(0)
    seen = {name: family.condition(params.latents, rows, key) for name, rows in condition.items()}
    sides, side = family.model.sides, family.model.complete(params.side, params.frozen)
    return [Control(part.apply, side[name], seen[name], *windows[name]) for name, part in sides.items()]


def _by_name(setting: str, value: PerSide, names: tuple[str, ...]) -> dict[str, float]:
    """The value of every side network."""
    if isinstance(value, int | float):
        return dict.fromkeys(names, value)
    # Not only a Mapping: part of a config has keys too.
    if not hasattr(value, "keys") or set(value.keys()) != set(names):
        raise ValueError(f"{setting} is {value}, but must be a number, or numbers by name for {', '.join(names)}.")
    return {name: value[name] for name in names}


class NonFiniteSampleError(FloatingPointError):
    """A sample is not all numbers; the message has its index."""


class SamplingParams(NamedTuple):
    """Parameters of the main network, of the latent space, and of the side networks by name (None: no control)."""

    frozen: Params
    latents: Params
    side: Mapping[str, Params] | None


@dataclasses.dataclass(frozen=True)
class Generator:
    """Samples of a family in batches, on all devices; made by `make_generator`.

    What comes out for example i depends on (seed, indices[i]), its context and its conditions alone.
    """

    family: Family
    batch_size: int
    guided: bool
    negative: Tree | None
    mesh: jax.sharding.Mesh
    sample_latents: Callable[..., tuple[jax.Array, jax.Array]]
    sample_decoded: Callable[..., tuple[jax.Array, jax.Array]]

    def __call__(
        self,
        frozen: Params,
        latent_params: Params,
        side: Mapping[str, Params] | None,
        context: Tree,
        conditions: Mapping[str, np.ndarray],
        indices: Sequence[int],
        seed: int = 0,
        **rest: Any,
    ) -> np.ndarray:
        """Sample, uint8 (n, *space, 3).

        Args:
          frozen: parameters of the main network.
          latent_params: parameters of the latent space.
          side: parameters of the side networks by name; None samples the main network without control.
          context: a tree of arrays (n, ...).
          conditions: uint8 (n, *space, c) by the names of the side networks. Without control, only their size counts.
          indices: (n,), the examples' own numbers.
          seed: decides the starting noise, together with the index.
          **rest: further arguments of `latents`, and `progress`, which is told how many more samples are done.

        Raises:
          ValueError: side networks or conditions of other names than the model's.
          NonFiniteSampleError: a sample that would be shown as black.
        """
        params = SamplingParams(frozen, latent_params, side)
        return self._run(self.sample_decoded, params, context, conditions, indices, seed, **rest)

    def latents(
        self,
        frozen: Params,
        latent_params: Params,
        side: Mapping[str, Params] | None,
        context: Tree,
        conditions: Mapping[str, np.ndarray],
        indices: Sequence[int],
        seed: int = 0,
        *,
        size: tuple[int, ...] | None = None,
        x_T: np.ndarray | None = None,
        negative_context: Tree | None = None,
    ) -> np.ndarray:
        """Sample latents, float32 (n, *space', c), which `__call__` decodes; arguments as there, and:

        Args:
          size: of a sample, where there are no conditions to have it.
          x_T: starting noise, standard normal, in place of the seed's.
          negative_context: a tree of arrays (n, ...) or (1, ...), in place of the negative prompt's.
        """
        params = SamplingParams(frozen, latent_params, side)
        return self._run(
            self.sample_latents,
            params,
            context,
            conditions,
            indices,
            seed,
            size=size,
            x_T=x_T,
            negative_context=negative_context,
        )

    def _run(
        self,
        program: Callable[..., tuple[jax.Array, jax.Array]],
        params: SamplingParams,
        context: Tree,
        conditions: Mapping[str, np.ndarray],
        indices: Sequence[int],
        seed: int,
        *,
        size: tuple[int, ...] | None = None,
        x_T: np.ndarray | None = None,
        negative_context: Tree | None = None,
        progress: Callable[[int], object] = lambda count: None,
    ) -> np.ndarray:
        if params.side is not None:
            self._check_names("Side networks", params.side)
            self._check_names("Conditions", conditions)
        params = jax.tree.map(self._placed, params)
        indices = np.asarray(indices, np.uint32)
        shape = self.family.latents.shape(*(size or jax.tree.leaves(conditions)[0].shape[1:-1]))
        inputs = {"context": context, "condition": dict(conditions), "index": indices}
        drawn = self.family.conditioner.draw is not None
        negative = self.negative if negative_context is None else negative_context
        # Of a context that is still to be drawn, what is without a caption comes after.
        if self.guided and (negative is not None or not drawn):
            inputs["negative"] = self._negative(context, negative_context)
        if x_T is not None:
            inputs["x_T"] = x_T
        # A multiple of the devices; rows that fill it up, and the last batch, are dropped again.
        step = -(-min(self.batch_size, len(indices)) // self.mesh.size) * self.mesh.size
        found, finite = [], []
        for start in range(0, len(indices), step):
            rows = np.minimum(np.arange(start, start + step), len(indices) - 1)
            batch = jax.tree.map(lambda part, rows=rows: np.asarray(part)[rows], inputs)
            index = batch.pop("index")
            if x_T is None:
                batch["x_T"] = np.asarray(initial_noise(seed, index, shape))
            if drawn:
                batch["key_data"] = np.asarray(jax.random.key_data(row_keys(seed, index)))
            batch = jax.device_put(batch, split_rows(self.mesh))
            for results, result in zip((found, finite), program(params, batch), strict=True):
                results.append(np.asarray(result))
            progress(min(step, len(indices) - start))
        for index, is_finite in zip(indices, np.concatenate(finite), strict=False):
            if not is_finite:
                raise NonFiniteSampleError(
                    f"Sample {index} holds what is no number: weights or a context that are none, or numbers too large "
                    "for the dtype that the networks compute in."
                )
        return np.concatenate(found)[: len(indices)]

    def _negative(self, context: Tree, given: Tree | None) -> Tree:
        """What guidance leads away from, a tree of numpy arrays (n, ...) like the context."""
        conditioner = self.family.conditioner
        if given is not None:
            return jax.tree.map(lambda rows, like: np.broadcast_to(rows, like.shape), given, context)
        if self.negative is not None:
            return conditioner.recaptioned(context, self.negative)
        return jax.tree.map(np.asarray, conditioner.null(context, conditioner.empty))

    def _check_names(self, what: str, values: Any) -> None:
        names = self.family.model.sides
        if not isinstance(values, Mapping) or set(values) != set(names):
            found = ", ".join(sorted(values)) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"{what} are {found}, but must be by name: {', '.join(names)}.")

    def _placed(self, leaf: Any) -> jax.Array:
        """A parameter on all devices; one that is split over them stays so."""
        if isinstance(leaf, jax.Array) and leaf.sharding.device_set == set(self.mesh.devices.flat):
            return leaf
        return jax.device_put(leaf, replicated(self.mesh))
