"""Stable Diffusion 3 and 3.5 with ControlNets: a transformer over image and text tokens, rectified flow.

The checkpoint has `transformer/`, `scheduler/`, `vae/`, `tokenizer/` and `text_encoder/` (CLIP-L), `tokenizer_2/` and
`text_encoder_2/` (CLIP-G), and perhaps `tokenizer_3/` and `text_encoder_3/` (T5). One without `vae/` is a base that
works on pixels; there is no pipeline for such a base, and no zeros stand for the tokens of a T5 that it has not.

Side networks see a condition as latents: of a picture in [-1, 1], drawn from the VAE's posterior, shifted and scaled as
those of images are; and they see the pooled text. What is trained is what diffusers' pipelines sample, for networks
that start here are written with `force_zeros_for_pooled_projection` false. One that was trained with true and goes on
from here keeps its own rules, see `sd3_control`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from lisa_jax.checkpoints.checkpoint import Checkpoint
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.params import Placement
from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.families.abstract import no_weights, not_read, shapes_of
from lisa_jax.families.autoencoder import autoencoder_latents
from lisa_jax.families.export_check import Measured
from lisa_jax.families.family import (
    CONDITION_INITS,
    ConditionEncoder,
    Family,
    LatentSpace,
    Setup,
    check_rgb,
    height_and_width,
)
from lisa_jax.families.pixels import PIXELS
from lisa_jax.families.schedulers import read_scheduler
from lisa_jax.families.sd3_check import check_sd3_controlnet
from lisa_jax.families.sd3_control import ABSENT_T5_LENGTH, sd3_side, transformer_functions
from lisa_jax.families.sd3_side_networks import (
    SD3SideStart,
    continued_side_network,
    copied_side_network,
    position_table,
    write_side_network,
)
from lisa_jax.families.sd3_text import T5, SD3Text, read_sd3_text
from lisa_jax.families.stable_diffusion_3_checks import check_context, check_latents
from lisa_jax.families.usage import TEMPLATES, Usage
from lisa_jax.media.image import IMAGE
from lisa_jax.models.sd3_transformer import SD3TransformerConfig
from lisa_jax.models.vae import AutoencoderKLConfig
from lisa_jax.parallel.sharding import Rules
from lisa_jax.processes import RectifiedFlow

# `fsdp` splits a kernel's inputs and `tensor` its outputs. Maps that end an attention or a feed-forward are split the
# other way round, so that what lies between them stays split over `tensor`. Vectors and embeddings are copied.
RULES: Rules = (
    (r"(to_out_0|to_add_out|net_2|linear_2)/kernel$", P("tensor", "fsdp")),
    (r"kernel$", P("fsdp", "tensor")),
    (r"(bias|scale|embedding|pos_embed)$", P()),
)
# The table of positions.
BUFFERS = r"^pos_embed/pos_embed$"
USAGE = Usage(
    "ControlNet",
    ("diffusers", "controlnet", "stable-diffusion-3", "text-to-image"),
    TEMPLATES / "stable_diffusion_3.md.jinja",
)
# Of a base without a VAE, which diffusers' pipelines cannot run.
PIXEL_USAGE = Usage("ControlNet", ("diffusers", "controlnet"), TEMPLATES / "pixel_transformer.md.jinja")


@dataclasses.dataclass(frozen=True)
class StableDiffusion3:
    """The networks of a checkpoint, without weights; implements `Architecture`.

    Attributes:
      transformer: config of the main network.
      text: the text encoders.
      vae: config of the autoencoder, None for a base that works on pixels.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
    """

    transformer: SD3TransformerConfig
    text: SD3Text
    vae: AutoencoderKLConfig | None
    scheduler: Mapping[str, Any]
    rules: ClassVar[Rules] = RULES
    optional: ClassVar[tuple[str, ...]] = (T5,)

    def abstract(self, setup: Setup) -> Family:
        """See `Architecture.abstract`."""
        table, load_table = SD3_TRANSFORMER.key_table(self.transformer), not_read("Positions")
        return self._family(
            setup,
            self._sides(setup, None, load_table),
            load_frozen=partial(shapes_of, table, jnp.dtype(setup.frozen_dtype)),
            latents=self._latents(setup, no_weights),
            conditioner=self.text.abstract(jnp.dtype(setup.compute_dtype)),
            load_table=load_table,
            write_main=not_read("A main network"),
            fingerprint="",
        )

    def load(self, setup: Setup, checkpoint: Checkpoint, placement: Placement = None) -> Family:
        """See `Architecture.load`. Each part of the checkpoint is read at its first use, and only then held.

        That the weights fit their configs is known from the files' headers before.
        """
        frozen_dtype, compute_dtype = jnp.dtype(setup.frozen_dtype), jnp.dtype(setup.compute_dtype)
        load_table = partial(position_table, self.transformer, checkpoint)
        SD3_TRANSFORMER.check(checkpoint, "transformer")
        components = {"transformer": DIFFUSERS_WEIGHTS, "scheduler": None, **self.text.components}
        if self.vae is not None:
            VAE.check(checkpoint, "vae")
            components["vae"] = DIFFUSERS_WEIGHTS
        return self._family(
            setup,
            self._sides(setup, checkpoint, load_table),
            load_frozen=lambda: SD3_TRANSFORMER.read(checkpoint, "transformer", frozen_dtype, placement)[1],
            latents=self._latents(setup, lambda: VAE.read(checkpoint, "vae", compute_dtype)[1]),
            conditioner=self.text.load(checkpoint, compute_dtype),
            load_table=load_table,
            write_main=partial(self._write_main, checkpoint, tuple(components)),
            fingerprint=checkpoint.fingerprint(components),
        )

    def _family(
        self, setup: Setup, sides: Mapping[str, SD3SideStart], *, load_table: Callable[[], Params], **parts: Any
    ) -> Family:
        check_setup(setup)
        settings = (jnp.dtype(setup.compute_dtype), setup.remat, setup.attention)
        networks = {
            name: sd3_side(
                side.config,
                self.transformer,
                *settings,
                setup.decoder_width,
                setup.births,
                absent_t5_length=self._absent_t5_length(),
                vae_shift=self._shift(),
            )
            for name, side in sides.items()
        }
        latents = parts["latents"]

        def write_side(target: str | Path, name: str, params: Params, dtype: jnp.dtype | None = None) -> None:
            write_side_network(target, sides[name].config, params, load_table(), dtype)

        def check_export(
            folder: str | Path, params: Params, dtype: jnp.dtype, size: tuple[int, int], *, verifies: bool
        ) -> Measured:
            return check_sd3_controlnet(folder, params, load_table(), dtype, latents.shape(*size), verifies=verifies)

        return Family(
            model=DualBranch(*transformer_functions(self.transformer, *settings, self._absent_t5_length()), networks),
            process=process_of(self.scheduler),
            scheduler=self.scheduler,
            condition=_conditions_as_latents(latents),
            medium=IMAGE,
            rules=self.rules,
            read_start=lambda: {name: side.read_start() for name, side in sides.items()},
            write_side=write_side,
            check_export=check_export,
            usage=PIXEL_USAGE if self.vae is None else USAGE,
            size=(self.transformer.sample_size * (1 if self.vae is None else self.vae.downsampling),) * 2,
            patch_size=self.transformer.patch_size,
            buffers=BUFFERS,
            **parts,
        )

    def _shift(self) -> float:
        """Of latents in model space."""
        return 0.0 if self.vae is None else (self.vae.shift_factor or 0.0) * self.vae.scaling_factor

    def _absent_t5_length(self) -> int:
        """Tokens of zeros that stand for absent T5's: of a base on pixels, which no pipeline fills up, none."""
        return 0 if self.vae is None else ABSENT_T5_LENGTH

    def _latents(self, setup: Setup, load_params: Callable[[], Params]) -> LatentSpace:
        latents, patch = PIXELS, self.transformer.patch_size
        if self.vae is not None:
            latents = autoencoder_latents(self.vae, load_params, jnp.dtype(setup.compute_dtype))
            patch *= self.vae.downsampling
        # A patch has a row and a column in the table of positions.
        return _of_sizes(latents, patch, patch * self.transformer.table_size)

    def _sides(
        self, setup: Setup, checkpoint: Checkpoint | None, load_table: Callable[[], Params]
    ) -> dict[str, SD3SideStart]:
        def side(start: str | None) -> SD3SideStart:
            if start is None:
                return copied_side_network(checkpoint, self.transformer, setup.num_layers)
            if setup.num_layers is not None:
                raise ValueError(f"start_from {start} is taken as it is: unset side.num_layers, or start_from.")
            return continued_side_network(start, self.transformer, load_table)

        return {name: side(setup.start_from.get(name)) for name in setup.conditions}

    def _write_main(self, checkpoint: Checkpoint, components: Sequence[str], target: str | Path, main: Params) -> None:
        for component in components:
            if component != "transformer":
                checkpoint.copy(component, Path(target) / component)
        SD3_TRANSFORMER.write(Path(target) / "transformer", self.transformer, main)
        has = {"has_vae": self.vae is not None, "has_t5": self.text.t5 is not None}
        write_model_index(target, self.scheduler["_class_name"], **has)


def write_model_index(folder: str | Path, scheduler_class: str, *, has_vae: bool, has_t5: bool) -> None:
    """Write `model_index.json`: library and class of every component, as diffusers' pipelines read them."""
    absent = [None, None]
    components = {
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"] if has_vae else absent,
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"] if has_t5 else absent,
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5TokenizerFast"] if has_t5 else absent,
        "scheduler": ["diffusers", scheduler_class],
        "feature_extractor": absent,
        "image_encoder": absent,
    }
    write_config(folder, components, "StableDiffusion3Pipeline", name="model_index.json")


def read_architecture(checkpoint: Checkpoint) -> StableDiffusion3:
    """The configs of a Stable Diffusion 3 checkpoint.

    Raises:
      CheckpointError: a part that is missing, not supported, or does not fit the others, by name.
    """
    transformer, text = SD3_TRANSFORMER.config(checkpoint, "transformer"), read_sd3_text(checkpoint)
    check_context(checkpoint, transformer, text)
    vae = VAE.config(checkpoint, "vae") if checkpoint.has("vae") else None
    check_latents(checkpoint, transformer, vae)
    return StableDiffusion3(
        transformer, text, vae, read_scheduler(checkpoint, RectifiedFlow, "Stable Diffusion 3 is a rectified flow")
    )


def check_setup(setup: Setup) -> None:
    """Raise ValueError for settings that are of UNets' side networks, or that nothing here reads."""
    for name in ("block_out_channels", "layers_per_block"):
        if getattr(setup, name) is not None:
            raise ValueError(
                f"side.{name} is of UNets: beside a transformer unset it, and for a smaller side network set "
                "side.num_layers."
            )
    if setup.condition_channels != Setup().condition_channels:
        raise ValueError(
            f"condition_channels {setup.condition_channels} are of UNets, whose conditions pass an encoder: beside a "
            f"transformer leave them at {Setup().condition_channels}."
        )
    if setup.lora_rank is not None:
        raise ValueError(
            f"side.lora_rank is {setup.lora_rank}, but Control-LoRAs are of UNets: beside a transformer unset it."
        )
    check_rgb(setup.conditioning_channels)
    if setup.births.encoder != CONDITION_INITS["zero"].encoder:
        raise ValueError(
            f"side.condition_init '{setup.condition_init}' is of UNets, whose conditions pass an encoder: beside a "
            "transformer use zero or default."
        )


def _of_sizes(latents: LatentSpace, multiple: int, largest: int) -> LatentSpace:
    """The latent space, with sizes of images refused that `multiple` does not divide, or above `largest`."""

    def shape(*size: int) -> tuple[int, ...]:
        height, width = height_and_width(size)
        if height % multiple or width % multiple or max(size) > largest:
            raise ValueError(
                f"Images of {height} x {width} do not fit this base: height and width must be multiples of {multiple}, "
                f"{largest} at most."
            )
        return latents.shape(height, width)

    return dataclasses.replace(latents, shape=shape)


def _conditions_as_latents(latents: LatentSpace) -> ConditionEncoder:
    """Conditions go the way of images; of a base on pixels nothing is cached, as of its images."""
    if latents.draws:
        return ConditionEncoder(latents.moments, latents.sample)
    return ConditionEncoder(None, lambda pictures, key: latents.sample(latents.moments({}, pictures), key))
