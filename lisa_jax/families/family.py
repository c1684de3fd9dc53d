"""What a family gives: a dual-branch model with its frozen weights, latents, conditioning and noise process."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.checkpoint import Checkpoint
from lisa_jax.checkpoints.params import Placement
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.usage import Usage
from lisa_jax.media.channels import RGB, not_rgb
from lisa_jax.media.medium import Medium
from lisa_jax.models.layers import SILU_BIRTH
from lisa_jax.parallel.sharding import Rules
from lisa_jax.processes import Process


@dataclasses.dataclass(frozen=True)
class LatentSpace:
    """Examples to latents and back, as pure functions of `params`.

    *Moments* are what is known of an example's latents before anything is drawn, and thus what can be cached: mean and
    log-variance of a VAE's posterior side by side, or, for a base on pixels, the image itself.

    Attributes:
      load_params: reads the weights of encoder and decoder, {} where there are none; called once, at the first use of
        `params`, so that training on cached moments never holds them.
      moments: (params, uint8 (n, *space, 3)) -> float32 (n, *space', m).
      sample: (moments, key) -> float32 (n, *space', c) in model space.
      decode: (params, latents (n, *space', c)) -> uint8 (n, *space, 3).
      shape: (H, W) of an image, or (F, H, W) of a video -> shape of its latents without n; raises ValueError for a size
        that does not divide.
      draws: whether moments are mean and log-variance, from which `sample` draws; else they are the latents themselves.
      in_chunks_of: number of frames -> the same, of which `decode` takes so many frames of a video together; None: each
        frame, or picture, is decoded by itself.
    """

    load_params: Callable[[], Params]
    moments: Callable[[Params, jax.Array], jax.Array]
    sample: Callable[[jax.Array, jax.Array], jax.Array]
    decode: Callable[[Params, jax.Array], jax.Array]
    shape: Callable[..., tuple[int, ...]]
    draws: bool
    in_chunks_of: "Callable[[int], LatentSpace] | None" = None

    @cached_property
    def params(self) -> Params:
        """The weights of encoder and decoder."""
        return self.load_params()

    def moments_shape(self, *size: int) -> tuple[int, ...]:
        """Shape of the moments, without n, of an example of this size."""
        *space, channels = self.shape(*size)
        return (*space, 2 * channels if self.draws else channels)

    def mean(self, moments: jax.Array) -> jax.Array:
        """The latents in the middle of the posterior, float32 (n, *space', c); nothing is left to chance."""
        if self.draws:
            mean, _ = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
            # With no variance, what `sample` draws is the mean.
            moments = jnp.concatenate([mean, jnp.full_like(mean, -jnp.inf)], axis=-1)
        return self.sample(moments, jax.random.key(0))


def height_and_width(size: tuple[int, ...]) -> tuple[int, int]:
    """(H, W) of an image, for `LatentSpace.shape`; raises ValueError for the size of something else, as a video."""
    if len(size) != 2:
        raise ValueError(f"This base makes images of (H, W), but data.image_size is {' x '.join(map(str, size))}.")
    return size


@dataclasses.dataclass(frozen=True)
class ConditionEncoder:
    """How a condition, uint8 (n, *space, channels), becomes what a side network sees.

    Attributes:
      moments: (params of the latent space, condition) -> moments of the condition, which are cached like those of an
        image. None where side networks see the picture itself.
      sample: (moments, or where there are none the picture, key) -> what side networks see, float32 (n, *space', c).
    """

    moments: Callable[[Params, jax.Array], jax.Array] | None
    sample: Callable[[jax.Array, jax.Array], jax.Array]

    def __call__(self, params: Params, condition: jax.Array, key: jax.Array) -> jax.Array:
        """What a side network sees of a condition as data sets hold it, uint8 (n, *space, channels)."""
        return self.sample(condition if self.moments is None else self.moments(params, condition), key)


def check_rgb(channels: Mapping[str, int]) -> None:
    """Raise ValueError where a condition, by name, has not 3 channels, and goes the way of images into latents."""
    for name, count in not_rgb(channels).items():
        raise ValueError(
            f"The condition {name!r} has channels: {count}, but this base encodes conditions as it does images, which "
            f"have {RGB}: make a picture in colours of it."
        )


# Pictures in [0, 1], as the side networks of UNets see them.
UNIT_PICTURES = ConditionEncoder(None, lambda pictures, key: pictures.astype(jnp.float32) / 255.0)


@dataclasses.dataclass(frozen=True)
class Family:
    """A checkpoint, or its architecture alone, ready to train side networks beside it.

    Attributes:
      model: pure functions over `frozen` and a trainable tree.
      load_frozen: reads the main network's parameters; called once, at the first use of `frozen`. Of an architecture
        alone they are shapes.
      process: noise process that the main network was trained with.
      scheduler: the checkpoint's scheduler config, which decides how samplers space their steps.
      latents: its latent space.
      conditioner: its captions, and what else it knows, to contexts.
      condition: conditions to what side networks see.
      medium: what it samples.
      rules: where its parameters, frozen and trainable, go on a mesh that splits them.
      read_start: reads what the side networks start from, by name, the `start` of `DualBranch.init_side`: numpy arrays
        in the precision of their files. Callers let go of them once the parameters are made.
      write_side: (folder, name, side parameters, dtype=None) writes one side network.
      write_main: (folder, main parameters) writes the whole checkpoint with other main weights.
      check_export: (folder, side parameters, dtype, size, *, verifies) -> `Measured`: how far what one side network
        computes has changed by being written to the folder, see `families.export_check`.
      usage: how others use an exported side network.
      fingerprint: hash of configs and weights of the base; tells one base from another.
      size: of the examples that the main network was trained with, as its config says; None where it does not.
      write_original: (folder, name, side parameters, dtype) writes one side network as `<name>.safetensors` in the
        layout that web interfaces read; None where they have none of this kind.
      patch_size: side of the square of latents that the main network reads as one token.
      guess_mode: whether diffusers' pipelines of this kind of base have a guess mode.
      buffers: pattern of the paths of main parameters that are no weights, as tables of positions: no training of the
        main network changes them. None where there are none.
      conditioning_channels: name -> channels of a condition, of those that have not 3.
      sampling: settings of `sampling.generate.make_generator` that such bases are sampled with where no run says
        otherwise.
    """

    model: DualBranch
    load_frozen: Callable[[], Params]
    process: Process
    scheduler: Mapping[str, Any]
    latents: LatentSpace
    conditioner: Conditioner
    condition: ConditionEncoder
    medium: Medium
    rules: Rules
    read_start: Callable[[], dict[str, Params]]
    write_side: Callable[..., None]
    write_main: Callable[[str | Path, Params], None]
    check_export: Callable[..., Any]
    usage: Usage
    fingerprint: str
    size: tuple[int, ...] | None = None
    write_original: Callable[..., None] | None = None
    patch_size: int = 1
    guess_mode: bool = False
    buffers: str | None = None
    conditioning_channels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sampling: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def channels_of(self, condition: str) -> int:
        """How many channels a condition has, as its side network takes it."""
        return self.conditioning_channels.get(condition, RGB)

    @cached_property
    def frozen(self) -> Params:
        """The main network's parameters."""
        return self.load_frozen()


class Births(NamedTuple):
    """Sizes at birth of the layers that no main network gives, over PyTorch's default; 0: all zeros.

    Attributes:
      condition: of the layer through which a condition enters the side network.
      zero: of the layers through which residuals leave it.
      encoder: of the layers before the first, where there are any.
    """

    condition: float = 0.0
    zero: float = 0.0
    encoder: float = 1.0


USUAL_BIRTHS = Births()
# How a condition's encoder is born: "zero" as diffusers does it; "default" with the last layer like the others;
# "preserving" with the last one zero and the others so large that the condition keeps its power on the way.
CONDITION_INITS = {"zero": USUAL_BIRTHS, "default": Births(condition=1.0), "preserving": Births(encoder=SILU_BIRTH)}


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a user decides about the networks beside the checkpoint that they belong to.

    Attributes:
      conditions: names of the conditions, a side network each; none: the main network alone.
      condition_channels: widths of the condition's encoder; n widths downsample the condition by 2^(n-1), which must be
        the factor between image and latents; beside a base on pixels every pixel of the condition is repeated to as
        many before. Not read for a side network that is continued.
      start_from: name -> side network to continue, whose config is taken as it is; the others start from the main one.
      block_out_channels: channels a level of smaller side networks, finest first; None: the main network's.
      layers_per_block: layers a level of smaller side networks; None: the main network's.
      num_layers: blocks that a side network copies of a transformer; None: as many as the family usually takes.
      lora_rank: rank of the factors that side networks train in place of the kernels that they take over from the main
        network, which stay as they are there; None: they train copies of the kernels.
      frozen_dtype: dtype of the frozen weights, "bfloat16" or "float32". A copy still starts from the file's values.
      compute_dtype: dtype of activations; norms, softmax, time embedding and loss are float32 anyway.
      remat: what the backward pass of both networks computes again, see `models.remat`.
      attention: implementation of attention, see `models.attention.attend`.
      decoder_width: factor on the hidden channels of the alignment decoders.
      condition_init: how the encoder of a new side network's condition is born, see `CONDITION_INITS`.
      zero_convolution_scale: size of the layers at birth through which a new side network's residuals leave, as a
        share of PyTorch's default. Only with 0 do the residuals start at zero.
      conditioning_channels: name -> channels of a condition; where it says nothing, a continued side network has its
        own number, and a new one 3.

    Raises:
      ValueError: a condition that is there twice, a start of a name that no condition has, an unknown condition_init,
        or births of new layers where every side network is continued.
    """

    conditions: tuple[str, ...] = ()
    condition_channels: tuple[int, ...] = (16, 32, 96, 256)
    start_from: Mapping[str, str] = dataclasses.field(default_factory=dict)
    block_out_channels: tuple[int, ...] | None = None
    layers_per_block: int | None = None
    num_layers: int | None = None
    lora_rank: int | None = None
    frozen_dtype: str = "bfloat16"
    compute_dtype: str = "bfloat16"
    remat: str = "none"
    attention: str = "auto"
    decoder_width: float = 1.0
    condition_init: str = "zero"
    zero_convolution_scale: float = 0.0
    conditioning_channels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.conditions)) < len(self.conditions):
            raise ValueError(f"conditions {self.conditions} must be different names.")
        unknown = sorted(set(self.start_from) - set(self.conditions))
        if unknown:
            raise ValueError(
                f"start_from names {', '.join(unknown)}, but the conditions are {', '.join(self.conditions) or 'none'}."
            )
        if self.condition_init not in CONDITION_INITS:
            raise ValueError(f"Unknown condition_init '{self.condition_init}': use {', '.join(CONDITION_INITS)}.")
        if self.births != USUAL_BIRTHS and self.conditions and set(self.start_from) == set(self.conditions):
            raise ValueError(
                f"condition_init {self.condition_init} and zero_convolution_scale {self.zero_convolution_scale:g} are "
                "of new side networks, but start_from continues one for every condition: leave them at zero and 0."
            )

    @property
    def births(self) -> Births:
        """Those of new side networks."""
        return CONDITION_INITS[self.condition_init]._replace(zero=self.zero_convolution_scale)


class Architecture(Protocol):
    """A family's networks as their configs say them, without weights; one class a family implements it.

    Attributes:
      rules: where parameters go on a mesh that splits them.
      optional: components of a checkpoint that it can do without, see `Checkpoint.takes`.
    """

    rules: Rules
    optional: tuple[str, ...]

    def abstract(self, setup: Setup) -> Family:
        """The family with shapes in place of the frozen weights, for programs that are compiled but not run.

        Side networks that start from another one have its config; others are what copies of the main one are.

        Raises:
          CheckpointError: a side network to continue that is missing, not supported, or does not fit the main one.
          ValueError: settings that contradict each other or the architecture.
        """

    def load(self, setup: Setup, checkpoint: Checkpoint, placement: Placement = None) -> Family:
        """The family of a checkpoint.

        Args:
          setup: side networks, dtypes and the rest that a user decides.
          checkpoint: where the weights are.
          placement: where each tensor of the main network goes as soon as it is read; None: it stays in numpy.

        Raises:
          CheckpointError: a part that is missing, does not fit its config or does not fit the others, by name.
          ValueError: settings that contradict each other or the checkpoint.
        """
