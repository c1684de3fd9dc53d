"""Pictures as `lisa_jax sample` draws them, one at a time; networks stay on the devices, programs stay compiled."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lisa_jax.drawing.examined import examined
from lisa_jax.drawing.inputs import batches, drawings_of_requests
from lisa_jax.drawing.networks import Networks, sizes_of
from lisa_jax.drawing.requests import Request
from lisa_jax.experiments.bounds import SEED
from lisa_jax.media.image import IMAGE
from lisa_jax.parallel.sharding import make_mesh, replicated
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.generator import Generator

# Programs that are kept: of eight choices of settings, each with control and without, at any scale and guidance.
KEPT = 16
# What only side networks heed.
_OF_CONTROL = ("control_scale", "control_start", "control_end", "guess_mode")


@dataclasses.dataclass(frozen=True)
class Wish:
    """One picture that is wanted.

    Attributes:
      request: prompt, negative prompt and files of conditions.
      seed: decides the starting noise.
      settings: arguments of `make_generator` that go before the networks' own.
    """

    request: Request
    seed: int
    settings: Mapping[str, Any]


class Artist:
    """Draws wishes with given networks."""

    def __init__(self, networks: Networks):
        """Raises ValueError for a base of videos."""
        if networks.family.medium is not IMAGE:
            raise ValueError("The page draws pictures, but this base makes videos: use `lisa_jax sample`.")
        self.networks = networks
        self.sizes = sizes_of(networks)
        family = networks.family
        self._params = jax.device_put((family.frozen, family.latents.params, networks.side), replicated(make_mesh()))
        self._generator = functools.lru_cache(KEPT)(self._make_generator)

    def draw(self, wish: Wish, *, control: bool = True) -> np.ndarray:
        """The picture of a wish, or with `control=False` what the base makes of prompt and seed alone.

        Returns:
          uint8 (H, W, 3), what `lisa_jax sample --prompt --condition` draws.

        Raises:
          RowError, PictureError: a condition that cannot be read, or conditions of different aspect ratios.
          ValueError: a setting out of its range.
          NonFiniteSampleError: a sample that is not all numbers.
        """
        settings = {**self.networks.sampling, "negative_prompt": "", **wish.settings}
        settings.pop("batch_size", None)
        if not SEED.takes(wish.seed):
            raise ValueError(f"The seed is {wish.seed}, but must be {SEED}.")
        if wish.request.negative_prompt and settings["guidance_scale"] == 1:
            raise ValueError(
                "The negative prompt does nothing at guidance 1: give another guidance, or no such prompt."
            )
        if not control:
            settings = {name: value for name, value in settings.items() if name not in _OF_CONTROL}
        scales = (settings.pop("control_scale", 1.0), settings.pop("guidance_scale"))
        chosen = tuple(sorted((name, _frozen(value)) for name, value in settings.items()))
        generate = self._generator(chosen, guided=scales[1] != 1).with_scales(*scales)
        frozen, latents, side = self._params
        return generate(frozen, latents, side if control else None, **self._arrays(wish.request), seed=wish.seed)[0]

    def _arrays(self, request: Request) -> dict[str, Any]:
        """What a generator takes, one row."""
        networks, family = self.networks, self.networks.family
        size = self.sizes.of(examined(request, family.conditioning_channels).size)
        how = (networks.classes, family.conditioning_channels)
        drawings = drawings_of_requests([request], [size], family.conditioner, "", *how)
        ((_, arrays),) = batches(drawings, 1)
        return arrays

    def _make_generator(self, settings: tuple[tuple[str, Any], ...], *, guided: bool) -> Generator:
        """A generator of these settings; how much guidance is said each time that it draws."""
        thawed = {name: dict(value) if isinstance(value, tuple) else value for name, value in settings}
        return make_generator(self.networks.family, **thawed, guidance_scale=2.0 if guided else 1.0, batch_size=1)


def _frozen(value: Any) -> Any:
    """A setting that can be hashed: numbers by name as pairs."""
    return tuple(value.items()) if isinstance(value, Mapping) else value
