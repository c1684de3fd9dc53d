"""Samples in batches, on all devices, by a program that `generate` makes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.family import Family
from lisa_jax.parallel.sharding import replicated, split_rows
from lisa_jax.sampling.guidance import scales_of_frames
from lisa_jax.sampling.noise import initial_noise, row_keys

# One number for all side networks, or numbers by name.
PerSide = float | Mapping[str, float]


class NonFiniteSampleError(FloatingPointError):
    """A sample is not all numbers; the message has its index."""


class SamplingParams(NamedTuple):
    """What a program is given beside a batch.

    Attributes:
      frozen: parameters of the main network.
      latents: parameters of the latent space.
      side: parameters of the side networks by name; None: no control.
      scales: float32 factors on their residuals by name; None: no control.
      guidance: float32 scale of guidance, or one for each frame of videos, (frames,); None: no guidance.
    """

    frozen: Params
    latents: Params
    side: Mapping[str, Params] | None
    scales: Mapping[str, np.float32] | None
    guidance: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Generator:
    """Samples of a family in batches, on all devices; made by `make_generator`.

    What comes out for example i depends on (seed, indices[i]), its context and its conditions alone.

    Attributes:
      scales: factors on the side networks' residuals by name.
      guidance_scale: 1 is no guidance.
      min_guidance_scale: of the first frame of videos; None: of all frames the same.
    """

    family: Family
    scales: Mapping[str, float]
    guidance_scale: float
    min_guidance_scale: float | None
    batch_size: int
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
        networks = (frozen, latent_params, side)
        return self._run(self.sample_decoded, networks, context, conditions, indices, seed, **rest)

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
        return self._run(
            self.sample_latents,
            (frozen, latent_params, side),
            context,
            conditions,
            indices,
            seed,
            size=size,
            x_T=x_T,
            negative_context=negative_context,
        )

    @property
    def guided(self) -> bool:
        """Whether there is classifier-free guidance."""
        return is_guided(self.guidance_scale, self.min_guidance_scale)

    def with_scales(self, control_scale: PerSide, guidance_scale: float) -> "Generator":
        """The same with other factors on the residuals and another guidance; shares what is compiled.

        Raises:
          ValueError: as `make_generator`, or guidance of a generator without, or none of one with it.
        """
        if is_guided(guidance_scale, self.min_guidance_scale) != self.guided:
            raise ValueError(
                f"guidance_scale is {guidance_scale} and was {self.guidance_scale}: with and without guidance, 1, are "
                "two programs; make another generator."
            )
        scales = numbers_of_sides("control_scale", control_scale, tuple(self.family.model.sides))
        return dataclasses.replace(self, scales=scales, guidance_scale=guidance_scale)

    def _params(
        self, frozen: Params, latents: Params, side: Mapping[str, Params] | None, shape: tuple[int, ...]
    ) -> SamplingParams:
        """What a program for latents of that shape, (*space', c), is given beside a batch."""
        scales = None if side is None else {name: np.float32(scale) for name, scale in self.scales.items()}
        guidance = np.float32(self.guidance_scale) if self.guided else None
        if self.guided and self.min_guidance_scale is not None:
            guidance = scales_of_frames(self.min_guidance_scale, self.guidance_scale, shape[0])
        return jax.tree.map(self._placed, SamplingParams(frozen, latents, side, scales, guidance))

    def _run(
        self,
        program: Callable[..., tuple[jax.Array, jax.Array]],
        networks: tuple[Params, Params, Mapping[str, Params] | None],
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
        frozen, latents, side = networks
        if side is not None:
            self._check_names("Side networks", side)
            self._check_names("Conditions", conditions)
        indices = np.asarray(indices, np.uint32)
        shape = self.family.latents.shape(*(size or jax.tree.leaves(conditions)[0].shape[1:-1]))
        params = self._params(frozen, latents, side, shape)
        inputs = {"context": context, "condition": dict(conditions), "index": indices}
        inputs |= self._guided_away_from(context, negative_context)
        if x_T is not None:
            inputs["x_T"] = x_T
        # A multiple of the devices; rows that fill it up, and the last batch, are dropped again.
        step = -(-min(self.batch_size, len(indices)) // self.mesh.size) * self.mesh.size
        found, finite = [], []
        for start in range(0, len(indices), step):
            rows = np.minimum(np.arange(start, start + step), len(indices) - 1)
            batch = jax.tree.map(lambda part, rows=rows: np.asarray(part)[rows], inputs)
            index = batch.pop("index")
            batch = jax.device_put(self._with_randomness(batch, seed, index, shape), split_rows(self.mesh))
            for results, result in zip((found, finite), program(params, batch), strict=True):
                results.append(np.asarray(result))
            progress(min(step, len(indices) - start))
        _check_finite(indices, np.concatenate(finite))
        return np.concatenate(found)[: len(indices)]

    def _with_randomness(
        self, batch: dict[str, Any], seed: int, index: np.ndarray, shape: tuple[int, ...]
    ) -> dict[str, Any]:
        """A batch with what its seed and its examples' numbers decide: starting noise, where it has none, and keys."""
        drawn = {}
        if "x_T" not in batch:
            drawn["x_T"] = np.asarray(initial_noise(seed, index, shape))
        if self.family.conditioner.draw is not None:
            drawn["key_data"] = np.asarray(jax.random.key_data(row_keys(seed, index)))
        return batch | drawn

    def _guided_away_from(self, context: Tree, given: Tree | None) -> dict[str, Tree]:
        """`negative`, what guidance leads away from, where it is known before contexts are drawn."""
        negative = self.negative if given is None else given
        # Of a context that is still to be drawn, what is without a caption comes after.
        if self.guided and (negative is not None or self.family.conditioner.draw is None):
            return {"negative": self._negative(context, given)}
        return {}

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
            found = (", ".join(sorted(values)) or "none") if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"{what} are {found}, but must be by name: {', '.join(names)}.")

    def _placed(self, leaf: Any) -> jax.Array:
        """A parameter on all devices; one that is split over them stays so."""
        if isinstance(leaf, jax.Array) and leaf.sharding.device_set == set(self.mesh.devices.flat):
            return leaf
        return jax.device_put(leaf, replicated(self.mesh))


def _check_finite(indices: np.ndarray, finite: np.ndarray) -> None:
    """Raise NonFiniteSampleError for the first sample that is not all numbers; what fills the batch up is not one."""
    for index, is_finite in zip(indices, finite, strict=False):
        if not is_finite:
            raise NonFiniteSampleError(
                f"Sample {index} holds what is no number: weights or a context that are none, or numbers too large "
                "for the dtype that the networks compute in."
            )


def is_guided(guidance_scale: float, min_guidance_scale: float | None) -> bool:
    """Whether these scales are any guidance; 1 is none."""
    return guidance_scale != 1 or min_guidance_scale not in (None, 1)


def numbers_of_sides(setting: str, value: PerSide, names: tuple[str, ...]) -> dict[str, float]:
    """The value of every side network, by its name; raises ValueError for other names."""
    if isinstance(value, int | float):
        return dict.fromkeys(names, value)
    # Not only a Mapping: part of a config has keys too.
    if not hasattr(value, "keys") or set(value.keys()) != set(names):
        raise ValueError(f"{setting} is {value}, but must be a number, or numbers by name for {', '.join(names)}.")
    return {name: value[name] for name in names}
