"""Where the networks of Stable Diffusion 1, 2 and XL, their ControlNets and Control-LoRAs lie in one file."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from lisa_jax.checkpoints import control_lora, original_text, original_unet, original_vae
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.weight_files import StoredTensor

Tensors = Mapping[str, StoredTensor]


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which a network lies in a file.

    Attributes:
      prefix: of its tensors.
      marker: one of them, without the prefix, by which it is known.
      tensors: tensors by their names without the prefix -> by those of diffusers or transformers.
      fields: shapes by these names -> fields of a `config.json`; KeyError for a tensor that is missing.
    """

    prefix: str
    marker: str
    tensors: Callable[[Tensors], dict[str, StoredTensor]]
    fields: Callable[[Mapping[str, tuple[int, ...]]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Part:
    """A network that a file holds: prefix of its tensors, fields of its config, its tensors by today's names."""

    prefix: str
    fields: Mapping[str, Any]
    tensors: Tensors


def parts_of(tensors: Tensors) -> dict[str, Part]:
    """What a file holds, by component; "" is a ControlNet or a Control-LoRA. Tensors of anything else are left out.

    Raises:
      CheckpointError: a network without a tensor that all of its kind have, or with one of another rank.
    """
    found = {}
    for component, layouts in _LAYOUTS.items():
        for layout in layouts:
            if layout.prefix + layout.marker in tensors:
                found[component] = _part(tensors, layout)
                break
    return found


def _part(tensors: Tensors, layout: Layout) -> Part:
    inner = {
        name.removeprefix(layout.prefix): tensor for name, tensor in tensors.items() if name.startswith(layout.prefix)
    }
    where = f"{next(iter(tensors.values())).path} ({layout.prefix}*)"
    try:
        today = layout.tensors(inner)
        return Part(layout.prefix, layout.fields({name: tensor.shape for name, tensor in today.items()}), today)
    except KeyError as error:
        raise CheckpointError(f"{where} is not whole: it has no {error.args[0]}.") from error
    # Names and shapes are whatever somebody wrote.
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"{where} holds tensors of other shapes or names than such a network's.") from error


def _unet_tensors(tensors: Tensors) -> dict[str, StoredTensor]:
    sizes = original_unet.Sizes.of(tensors)
    return {original_unet.diffusers_name(name, sizes): tensor for name, tensor in tensors.items()}


def _control_lora_tensors(tensors: Tensors) -> dict[str, StoredTensor]:
    return _unet_tensors({name: tensor for name, tensor in tensors.items() if name != control_lora.MARKER})


def _vae_tensors(tensors: Tensors) -> dict[str, StoredTensor]:
    levels = original_vae.levels_of(tensors)
    # The loss of its training has weights, too.
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("loss.")}
    return {original_vae.diffusers_name(name, levels): tensor for name, tensor in kept.items()}


_VAE = (_vae_tensors, original_vae.vae_fields)
_CLIP = (original_text.clip_tensors, original_text.clip_fields)
_OPENCLIP_H = (original_text.penultimate_tensors, original_text.openclip_fields)
_OPENCLIP_G = (original_text.openclip_tensors, original_text.openclip_fields)
_TOKENS = "embeddings.token_embedding.weight"
_HINT = "input_hint_block.0.weight"
# Component -> the ways in which it may lie in a file; the first whose marker is there counts.
_LAYOUTS = {
    "unet": (Layout("model.diffusion_model.", "input_blocks.0.0.weight", _unet_tensors, original_unet.unet_fields),),
    "vae": (
        Layout("first_stage_model.", "encoder.conv_in.weight", *_VAE),
        # A file of a VAE alone, in the original layout and as diffusers writes it.
        Layout("", "encoder.mid.block_1.conv1.weight", *_VAE),
        Layout("", "encoder.mid_block.resnets.0.conv1.weight", dict, original_vae.vae_fields),
    ),
    "text_encoder": (
        Layout("cond_stage_model.transformer.text_model.", _TOKENS, *_CLIP),
        Layout("cond_stage_model.transformer.", _TOKENS, *_CLIP),
        Layout("cond_stage_model.model.", "token_embedding.weight", *_OPENCLIP_H),
        Layout("conditioner.embedders.0.transformer.text_model.", _TOKENS, *_CLIP),
    ),
    "text_encoder_2": (Layout("conditioner.embedders.1.model.", "token_embedding.weight", *_OPENCLIP_G),),
    "": (
        Layout("", control_lora.MARKER, _control_lora_tensors, control_lora.fields),
        Layout("control_model.", _HINT, _unet_tensors, original_unet.controlnet_fields),
        Layout("", _HINT, _unet_tensors, original_unet.controlnet_fields),
        # As diffusers writes it, without its config.
        Layout("", "controlnet_cond_embedding.conv_in.weight", dict, original_unet.controlnet_fields),
    ),
}
