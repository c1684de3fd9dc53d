"""Samples of a family: the one path that previews, `sample` and `evaluate` share."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import Family
from lisa_jax.media.video import VIDEO
from lisa_jax.parallel.compiling import Announced
from lisa_jax.parallel.sharding import make_mesh, replicated
from lisa_jax.sampling.generator import Generator, PerSide, SamplingParams, is_guided, numbers_of_sides
from lisa_jax.sampling.guidance import Control, check_window, guided_predict
from lisa_jax.sampling.noise import GENERATOR
from lisa_jax.sampling.samplers.sampler import make_sampler


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
) -> Generator:
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
    guided = is_guided(guidance_scale, min_guidance_scale)
    scales = numbers_of_sides("control_scale", control_scale, tuple(family.model.sides))
    windows = _windows(family, control_start=control_start, control_end=control_end)
    negative = _negative_contexts(family, negative_prompt, guided=guided)
    chosen = make_sampler(sampler, family.process, family.scheduler, num_steps, family.patch_size)
    mesh, space = make_mesh(), family.latents
    if decode_chunk and space.in_chunks_of:
        space = space.in_chunks_of(decode_chunk)

    def latents(params: SamplingParams, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        context, null = _contexts(family.conditioner, params.latents, batch, guided=guided)
        predict = guided_predict(
            family.model,
            family.process,
            params.frozen,
            _controls(family, windows, params, batch["condition"]),
            num_steps=num_steps,
            context=context,
            null_context=null,
            guidance_scale=params.guidance,
            guess_mode=guess_mode,
        )
        found = chosen.sample(predict, batch["x_T"])
        return found, _all_finite(found)

    def decoded(params: SamplingParams, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        found, finite = latents(params, batch)
        return space.decode(params.latents, found), finite

    return Generator(
        family,
        scales,
        guidance_scale,
        min_guidance_scale,
        batch_size,
        negative=negative,
        mesh=mesh,
        # Every process reads the whole result.
        sample_latents=Announced(latents, "the sampler", position=1, out_shardings=replicated(mesh)),
        sample_decoded=Announced(decoded, "the sampler", position=1, out_shardings=replicated(mesh)),
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
    """Start and end of every side network, by its name."""
    names = tuple(family.model.sides)
    values = [numbers_of_sides(setting, value, names) for setting, value in settings.items()]
    windows = {name: tuple(value[name] for value in values) for name in names}
    for start, end in windows.values():
        check_window(start, end)
    return windows


def _controls(
    family: Family,
    windows: Mapping[str, tuple[float, ...]],
    params: SamplingParams,
    condition: Mapping[str, jax.Array],
) -> list[Control]:
    if params.side is None:
        return []
    # Where side networks see latents, always the same are drawn.
    key = jax.random.key(0)
    seen = {name: family.condition(params.latents, rows, key) for name, rows in condition.items()}
    sides, side = family.model.sides, family.model.complete(params.side, params.frozen)
    return [
        Control(part.apply, side[name], seen[name], params.scales[name], *windows[name]) for name, part in sides.items()
    ]
