"""Images from a family: the one path that previews, `sample` and `evaluate` share."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.families.family import Family
from lisa_jax.parallel.sharding import make_mesh, replicated, split_rows
from lisa_jax.sampling.guidance import Control, check_window, guided_predict
from lisa_jax.sampling.noise import initial_noise
from lisa_jax.sampling.samplers.sampler import make_sampler

PerSide = float | Mapping[str, float]


def make_generator(
    family: Family,
    *,
    sampler: str = "ddim",
    num_steps: int,
    guidance_scale: float,
    control_scale: PerSide = 1.0,
    control_start: PerSide = 0.0,
    control_end: PerSide = 1.0,
    guess_mode: bool = False,
    negative_prompt: str = "",
    batch_size: int = 16,
    models: Mapping[str, DualBranch] | None = None,
) -> "Generator":
    """Make a generator of images.

    Args:
      family: model, process, latent space, text encoder and scheduler config.
      sampler: ddim, euler or dpmpp_2m; see `make_sampler`.
      num_steps: network evaluations an image.
      guidance_scale: classifier-free guidance towards the caption; 1 is none.
      control_scale: factor on the side network's residuals. For several side networks this and the two below are one
        number for all or numbers by name.
      control_start, control_end: the part of the steps in which the side network acts.
      guess_mode: see `guided_predict`.
      negative_prompt: what guidance leads away from.
      batch_size: examples at a time; changes no image.
      models: name -> model, several side networks that were trained apart, beside the family's main network; None: the
        family's own, which may be a composition.

    Raises:
      ValueError: a setting out of its range, or numbers that are not by the side networks' names.
    """
    sides = {name: part.side for name, part in (models or family.model.parts).items()}
    settings = [
        _by_name(*setting, sides)
        for setting in zip(
            ("control_scale", "control_start", "control_end"), (control_scale, control_start, control_end), strict=True
        )
    ]
    for start, end in zip(settings[1].values(), settings[2].values(), strict=True):
        check_window(start, end)
    if negative_prompt and guidance_scale == 1:
        raise ValueError("negative_prompt does nothing at guidance_scale 1: give another guidance_scale, or no prompt.")
    chosen = make_sampler(sampler, family.process, family.scheduler, num_steps)
    mesh = make_mesh()

    def controls(side: Params | None, condition: Any) -> list[Control]:
        condition = jax.tree.map(lambda rows: rows.astype(jnp.float32) / 255.0, condition)
        if side is None:
            return []
        if not sides:
            return [Control(family.model.side, side, condition, *(setting[""] for setting in settings))]
        return [
            Control(part, side[name], condition[name], *(setting[name] for setting in settings))
            for name, part in sides.items()
        ]

    def sample(frozen: Params, side: Params | None, batch: Mapping[str, Any]) -> jax.Array:
        predict = guided_predict(
            family.model,
            family.process,
            frozen,
            controls(side, batch["condition"]),
            num_steps=num_steps,
            context=batch["context"],
            null_context=batch.get("negative"),
            guidance_scale=guidance_scale,
            guess_mode=guess_mode,
        )
        return chosen.sample(predict, batch["x_T"])

    def sample_images(
        frozen: Params, side: Params | None, latent_params: Params, batch: Mapping[str, Any]
    ) -> jax.Array:
        return family.latents.decode(latent_params, sample(frozen, side, batch))

    return Generator(
        family,
        batch_size,
        None if guidance_scale == 1 else family.encode_text([negative_prompt]),
        tuple(sides),
        mesh,
        # Every process reads the whole result.
        jax.jit(sample, out_shardings=replicated(mesh)),
        jax.jit(sample_images, out_shardings=replicated(mesh)),
    )


def _by_name(setting: str, value: PerSide, names: Collection[str]) -> dict[str, float]:
    """The value of every side network, the only one's under an empty name."""
    if isinstance(value, int | float):
        return dict.fromkeys(names or ("",), value)
    # Not only a Mapping: part of a config has keys too.
    if not names or not hasattr(value, "keys") or set(value.keys()) != set(names):
        wanted = f"a number, or numbers by name for {', '.join(names)}" if names else "a number"
        raise ValueError(f"{setting} is {value}, but must be {wanted}.")
    return {name: value[name] for name in names}


@dataclasses.dataclass(frozen=True)
class Generator:
    """Samples of a family in batches, on all devices; made by `make_generator`.

    What comes out for example i depends on (seed, indices[i]), its contexts and its conditions alone.
    """

    family: Family
    batch_size: int
    null_context: np.ndarray | None
    names: tuple[str, ...]
    mesh: jax.sharding.Mesh
    sample_latents: Callable[..., jax.Array]
    sample_images: Callable[..., jax.Array]

    def __call__(
        self,
        frozen: Params,
        latent_params: Params,
        side: Params | None,
        context: np.ndarray,
        condition: Any,
        indices: Sequence[int],
        seed: int = 0,
        *,
        x_T: np.ndarray | None = None,
        negative_context: np.ndarray | None = None,
    ) -> np.ndarray:
        """Sample images, uint8 (n, H, W, 3).

        Args:
          frozen: parameters of the main network.
          latent_params: parameters of the latent space.
          side: parameters of the side network, or of several by name; None samples the main network without control.
          context: (n, length, width).
          condition: uint8 (n, H, W, 3), or arrays by the names of the side networks. Without control, only its size
            counts.
          indices: (n,), the examples' own numbers.
          seed: decides the starting noise, together with the index.
          x_T: starting noise (n, h, w, c), standard normal, in place of that.
          negative_context: (n, length, width) or (1, length, width), in place of the negative prompt's.

        Raises:
          ValueError: side networks or conditions of other names than the model's.
        """
        params = (frozen, side, latent_params)
        return self._run(self.sample_images, params, context, condition, indices, seed, x_T, negative_context)

    def latents(
        self,
        frozen: Params,
        side: Params | None,
        context: np.ndarray,
        condition: Any,
        indices: Sequence[int],
        seed: int = 0,
        *,
        x_T: np.ndarray | None = None,
        negative_context: np.ndarray | None = None,
    ) -> np.ndarray:
        """Sample latents, float32 (n, h, w, c), which `__call__` decodes; arguments as there."""
        params = (frozen, side)
        return self._run(self.sample_latents, params, context, condition, indices, seed, x_T, negative_context)

    def _run(
        self,
        program: Callable[..., jax.Array],
        params: tuple[Params, ...],
        context: np.ndarray,
        condition: Any,
        indices: Sequence[int],
        seed: int,
        x_T: np.ndarray | None,
        negative_context: np.ndarray | None,
    ) -> np.ndarray:
        if params[1] is not None:
            self._check_names("Side networks", params[1])
            self._check_names("Conditions", condition)
        params = jax.tree.map(self._placed, params)
        indices = np.asarray(indices, np.uint32)
        shape = self.family.latents.shape(*jax.tree.leaves(condition)[0].shape[1:3])
        negative = self.null_context if negative_context is None else negative_context
        inputs = {"context": context, "condition": condition, "index": indices}
        if self.null_context is not None:
            inputs["negative"] = np.broadcast_to(negative, (len(indices), *negative.shape[1:]))
        if x_T is not None:
            inputs["x_T"] = x_T
        # A multiple of the devices; rows that fill it up, and the last batch, are dropped again.
        size = -(-min(self.batch_size, len(indices)) // self.mesh.size) * self.mesh.size
        found = []
        for start in range(0, len(indices), size):
            rows = np.minimum(np.arange(start, start + size), len(indices) - 1)
            batch = jax.tree.map(lambda part, rows=rows: np.asarray(part)[rows], inputs)
            index = batch.pop("index")
            if x_T is None:
                batch["x_T"] = np.asarray(initial_noise(seed, index, shape))
            batch = jax.device_put(batch, split_rows(self.mesh))
            found.append(np.asarray(program(*params, batch)))
        return np.concatenate(found)[: len(indices)]

    def _check_names(self, what: str, values: Any) -> None:
        if self.names and (not isinstance(values, Mapping) or set(values) != set(self.names)):
            found = ", ".join(sorted(values)) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"{what} are {found}, but must be by name: {', '.join(self.names)}.")

    def _placed(self, leaf: Any) -> jax.Array:
        """A parameter on all devices; one that is split over them stays so."""
        if isinstance(leaf, jax.Array) and leaf.sharding.device_set == set(self.mesh.devices.flat):
            return leaf
        return jax.device_put(leaf, replicated(self.mesh))
