"""Stable Diffusion 1.x and 2.x with ControlNets.

The checkpoint has `unet/`, `scheduler/`, `tokenizer/`, `text_encoder/` and `vae/`. One without `vae/` is a base that
works on pixels, like those that ship with this package.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from lisa_jax.checkpoints.checkpoint import Checkpoint, open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.control_lora import write_control_lora
from lisa_jax.checkpoints.original_controlnet import write_original_controlnet
from lisa_jax.checkpoints.params import Placement
from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.checkpoints.side_network import side_network_of, stored_side_network
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS
from lisa_jax.dual_branch import DualBranch, Params, SideNetwork
from lisa_jax.families.abstract import no_weights, not_read, shapes_of
from lisa_jax.families.autoencoder import autoencoder_latents
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.controlnet_check import check_controlnet, probe_inputs
from lisa_jax.families.export_check import Measured
from lisa_jax.families.family import UNIT_PICTURES, Family, LatentSpace, Setup
from lisa_jax.families.low_rank import has_factors, low_rank, merged
from lisa_jax.families.pixels import PIXELS
from lisa_jax.families.schedulers import read_scheduler, tell_few_steps
from lisa_jax.families.sd_text import clip_conditioner
from lisa_jax.families.side_networks import (
    SideStart,
    continued_side_network,
    encoder_kernels,
    side_network_of_unet,
)
from lisa_jax.families.stable_diffusion_checks import (
    check_context,
    check_latents,
    check_side_network,
    check_tokens,
)
from lisa_jax.families.unet_control import controlnet_side, unet_functions
from lisa_jax.families.usage import TEMPLATES, Usage
from lisa_jax.media.channels import RGB, not_rgb
from lisa_jax.media.image import IMAGE
from lisa_jax.models.clip_text import CLIPTextConfig
from lisa_jax.models.unet import UNet, UNetConfig
from lisa_jax.models.vae import AutoencoderKLConfig
from lisa_jax.parallel.sharding import Rules
from lisa_jax.processes import Diffusion

# Component -> stem of its weights.
COMPONENTS = {
    "unet": DIFFUSERS_WEIGHTS,
    "text_encoder": TRANSFORMERS_WEIGHTS,
    "tokenizer": None,
    "scheduler": None,
}
# `fsdp` splits a kernel's inputs and `tensor` its outputs. Maps that end an attention or a feed-forward are split the
# other way round, so that what lies between them stays split over `tensor`; so are the two factors of a kernel. Vectors
# and embeddings are copied.
RULES: Rules = (
    (r"(to_out_0|net_2|out_proj|fc2)/kernel$|/up$", P("tensor", "fsdp")),
    (r"kernel$|/down$", P("fsdp", "tensor")),
    (r"(bias|scale|embedding)$", P()),
)
USAGE = Usage(
    "ControlNet",
    ("diffusers", "controlnet", "stable-diffusion", "text-to-image"),
    TEMPLATES / "stable_diffusion.md.jinja",
    "StableDiffusionControlNetPipeline",
)
# Of a base without a VAE, which diffusers' pipelines cannot run.
PIXEL_USAGE = Usage("ControlNet", ("diffusers", "controlnet"), TEMPLATES / "pixel_unet.md.jinja")


@dataclasses.dataclass(frozen=True)
class StableDiffusion:
    """The networks of a checkpoint, without weights; implements `Architecture`.

    Attributes:
      unet, text: configs of the networks.
      vae: config of the autoencoder, None for a base that works on pixels.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
    """

    unet: UNetConfig
    text: CLIPTextConfig
    vae: AutoencoderKLConfig | None
    scheduler: Mapping[str, Any]
    rules: ClassVar[Rules] = RULES
    optional: ClassVar[tuple[str, ...]] = ()

    @property
    def has_original_layout(self) -> bool:
        """Whether its side networks can be written as web interfaces read them, who have no bases on pixels."""
        return self.vae is not None

    @property
    def components(self) -> dict[str, str | None]:
        """Component -> stem of its weights, as for `Checkpoint.fingerprint`."""
        return COMPONENTS | ({} if self.vae is None else {"vae": DIFFUSERS_WEIGHTS})

    @property
    def usage(self) -> Usage:
        """How others use its side networks."""
        return PIXEL_USAGE if self.vae is None else USAGE

    def blank_conditioner(self) -> Conditioner:
        """The conditioner of the architecture alone."""
        return clip_conditioner(self.text, self.text.max_position_embeddings, not_read("Captions"), no_weights)

    def conditioner(self, checkpoint: Checkpoint) -> Conditioner:
        """The conditioner of a checkpoint; raises CheckpointError for a tokenizer of another text encoder."""
        CLIP_TEXT.check(checkpoint, "text_encoder")
        tokenizer = load_tokenizer(checkpoint, "tokenizer")
        check_tokens(checkpoint, tokenizer, self.text.vocab_size, self.text.max_position_embeddings)
        return clip_conditioner(
            self.text,
            tokenizer.max_length,
            tokenizer,
            lambda: CLIP_TEXT.read(checkpoint, "text_encoder", jnp.float32)[1],
            tokenizer.cuts,
        )

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """Of a checkpoint of this architecture, see `Family`."""
        return checkpoint.fingerprint(self.components)

    def write_index(self, folder: str | Path) -> None:
        """Write `model_index.json`."""
        write_model_index(folder, self.scheduler.get("_class_name", "DDIMScheduler"), has_vae=self.vae is not None)

    def abstract(self, setup: Setup) -> Family:
        """See `Architecture.abstract`."""
        sides = {name: self._side(setup, None, name) for name in setup.conditions}
        frozen = partial(shapes_of, UNET.key_table(self.unet), jnp.dtype(setup.frozen_dtype))
        return self._family(
            setup,
            sides,
            load_frozen=frozen,
            latents=self._latents(setup, no_weights),
            conditioner=self.blank_conditioner(),
            load_kernels=not_read("A main network"),
            write_main=not_read("A main network"),
            fingerprint="",
        )

    def load(self, setup: Setup, checkpoint: Checkpoint, placement: Placement = None) -> Family:
        """See `Architecture.load`. Each part of the checkpoint is read at its first use, and only then held.

        That the weights fit their configs is known from the files' headers before.
        """
        tell_few_steps(checkpoint, self.scheduler)
        dtype = jnp.dtype(setup.compute_dtype)
        latents = self._latents(setup, lambda: VAE.read(checkpoint, "vae", dtype)[1])
        for name, network in {"unet": UNET, **({} if self.vae is None else {"vae": VAE})}.items():
            network.check(checkpoint, name)
        return self._family(
            setup,
            {name: self._side(setup, checkpoint, name) for name in setup.conditions},
            load_frozen=lambda: UNET.read(checkpoint, "unet", jnp.dtype(setup.frozen_dtype), placement)[1],
            latents=latents,
            conditioner=self.conditioner(checkpoint),
            load_kernels=partial(encoder_kernels, checkpoint, self.unet),
            write_main=partial(self._write_main, checkpoint),
            fingerprint=self.fingerprint(checkpoint),
        )

    def _family(
        self, setup: Setup, sides: Mapping[str, SideStart], *, load_kernels: Callable[[], Params], **parts: Any
    ) -> Family:
        if setup.num_layers is not None:
            raise ValueError(
                f"side.num_layers is {setup.num_layers}, but is of transformers: beside a UNet unset it, and for a "
                "smaller side network set side.block_out_channels or side.layers_per_block."
            )
        dtype = jnp.dtype(setup.compute_dtype)
        settings = (dtype, setup.remat, setup.attention)

        def write_side(target: str | Path, name: str, params: Params, dtype: jnp.dtype | None = None) -> None:
            config = sides[name].config
            side_network_of(config).write(target, config, whole(params), dtype)

        def whole(params: Params) -> Params:
            """The parameters of a ControlNet, for those who know no factors."""
            return merged(params, load_kernels()) if has_factors(params) else params

        process = process_of(self.scheduler)
        channels = not_rgb({name: side.config.conditioning_channels for name, side in sides.items()})
        return Family(
            model=DualBranch(
                *unet_functions(UNet(self.unet, *settings)),
                {name: self._network(setup, side) for name, side in sides.items()},
            ),
            process=process,
            scheduler=self.scheduler,
            condition=UNIT_PICTURES,
            medium=IMAGE,
            rules=self.rules,
            read_start=lambda: {name: side.read_start() for name, side in sides.items()},
            write_side=write_side,
            check_export=partial(_check_export, parts["latents"], parts["conditioner"], process, whole),
            usage=self.usage,
            size=self._size(),
            write_original=self._writer_for_interfaces(sides),
            guess_mode=True,
            conditioning_channels=channels,
            **parts,
        )

    def _network(self, setup: Setup, side: SideStart) -> SideNetwork:
        whole = controlnet_side(
            side.config,
            self.unet.out_channels,
            jnp.dtype(setup.compute_dtype),
            setup.remat,
            setup.attention,
            setup.decoder_width,
            setup.births,
            # Of a base on pixels the condition has the latents' size already.
            condition_scale=side.config.conditioning_downsampling if self.vae is None else 1,
        )
        return whole if side.rank is None else low_rank(whole, side.rank)

    def _writer_for_interfaces(self, sides: Mapping[str, SideStart]) -> Callable[..., None] | None:
        """What writes side networks as web interfaces read them; None of a base that these do not have."""

        def write(target: str | Path, name: str, params: Params, dtype: jnp.dtype | None = None) -> None:
            config, rank = sides[name].config, sides[name].rank
            if rank is None:
                write_original_controlnet(target, name, config, params, dtype)
            else:
                write_control_lora(target, name, config, rank, params, dtype)

        return write if self.has_original_layout else None

    def _size(self) -> tuple[int, int] | None:
        given = self.unet.sample_size
        if given is None:
            return None
        factor = 1 if self.vae is None else self.vae.downsampling
        height, width = (given, given) if isinstance(given, int) else given
        return factor * height, factor * width

    def _latents(self, setup: Setup, load_params: Callable[[], Params]) -> LatentSpace:
        if self.vae is None:
            return PIXELS
        return autoencoder_latents(self.vae, load_params, jnp.dtype(setup.compute_dtype))

    def _side(self, setup: Setup, checkpoint: Checkpoint | None, name: str) -> SideStart:
        start = setup.start_from.get(name)
        if start is None:
            return self._side_of_unet(setup, checkpoint, name)
        if (setup.block_out_channels, setup.layers_per_block, setup.lora_rank) != (None, None, None):
            raise ValueError(
                f"start_from {start} is taken as it is: unset block_out_channels, layers_per_block and lora_rank, or "
                "start_from."
            )
        return continued_side_network(start, self.unet, setup.conditioning_channels.get(name))

    def _side_of_unet(self, setup: Setup, checkpoint: Checkpoint | None, name: str) -> SideStart:
        return side_network_of_unet(
            checkpoint,
            self.unet,
            setup.condition_channels,
            setup.block_out_channels,
            setup.layers_per_block,
            conditioning_channels=setup.conditioning_channels.get(name, RGB),
            lora_rank=setup.lora_rank,
        )

    def _write_main(self, checkpoint: Checkpoint, target: str | Path, main: Params) -> None:
        for component in self.components:
            if component != "unet":
                checkpoint.copy(component, Path(target) / component)
        UNET.write(Path(target) / "unet", self.unet, main)
        self.write_index(target)


def write_model_index(folder: str | Path, scheduler_class: str, *, has_vae: bool) -> None:
    """Write `model_index.json`: library and class of every component, as diffusers' pipelines read them."""
    components = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"] if has_vae else [None, None],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", scheduler_class],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
    }
    write_config(folder, components, "StableDiffusionPipeline", name="model_index.json")


def read_architecture(checkpoint: Checkpoint) -> StableDiffusion:
    """The configs of a Stable Diffusion checkpoint.

    Raises:
      CheckpointError: a part that is missing, not supported, or does not fit the others, by name.
    """
    unet, text = UNET.config(checkpoint, "unet"), CLIP_TEXT.config(checkpoint, "text_encoder")
    check_context(checkpoint, unet, text)
    vae = VAE.config(checkpoint, "vae") if checkpoint.has("vae") else None
    check_latents(checkpoint, unet, vae)
    check_side_network(checkpoint, unet)
    return StableDiffusion(
        unet, text, vae, read_scheduler(checkpoint, Diffusion, "Stable Diffusion is a discrete diffusion")
    )


def _check_export(
    latents: LatentSpace,
    conditioner: Conditioner,
    process: Diffusion,
    whole: Callable[[Params], Params],
    folder: str | Path,
    params: Params,
    dtype: jnp.dtype,
    size: tuple[int, int],
    *,
    verifies: bool,
) -> Measured:
    """`check_controlnet` on random inputs of a size; `whole`: parameters -> those of a ControlNet."""
    checkpoint, latent_shape = open_checkpoint(folder), latents.shape(*size)
    config = stored_side_network(checkpoint).config(checkpoint)
    factor = config.conditioning_downsampling
    condition = (factor * latent_shape[0], factor * latent_shape[1], config.conditioning_channels)
    inputs = probe_inputs(latent_shape, conditioner.shapes, condition, process.num_train_timesteps)
    return check_controlnet(folder, whole(params), dtype, inputs, verifies=verifies)
