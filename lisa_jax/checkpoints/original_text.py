"""Text encoders in original files, CLIP's in Stable Diffusion 1, OpenCLIP's in 2, both in XL, and what shapes tell."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.weight_files import StoredTensor

# Of OpenCLIP's contrastive training.
_UNUSED = ("logit_scale", "attn_mask")
# OpenCLIP multiplies with it from the other side, and has it in newer files by today's name.
_PROJECTION = "text_projection"
_OUTSIDE = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_HEAD_CHANNELS = 64
# Of OpenCLIP's ViT-H.
_VIT_H_LAYERS = 24


def clip_tensors(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Tensors of CLIP's text encoder by transformers' names, which are its own."""
    return {CLIP_TEXT.prefix + name.removeprefix(CLIP_TEXT.prefix): tensor for name, tensor in tensors.items()}


def openclip_tensors(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Tensors of OpenCLIP's text encoder by transformers' names; the maps that it holds as one are taken apart.

    Those that neither has stay under their names.
    """
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        layer = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)\.?(weight|bias)", name)
        if name in _UNUSED:
            continue
        if name.startswith(_PROJECTION):
            found[f"{_PROJECTION}.weight"] = tensor.transposed() if name == _PROJECTION else tensor
            continue
        if layer is None:
            found[CLIP_TEXT.prefix + _OUTSIDE.get(name, name)] = tensor
            continue
        module, place = layer[2].rstrip("."), f"{CLIP_TEXT.prefix}encoder.layers.{layer[1]}"
        if module == "attn.in_proj_":
            parts = zip("qkv", _thirds(tensor), strict=True)
            found |= {f"{place}.self_attn.{part}_proj.{layer[3]}": third for part, third in parts}
        else:
            found[f"{place}.{_LAYER.get(module, module)}.{layer[3]}"] = tensor
    return found


def penultimate_tensors(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """As `openclip_tensors`, without the last layer and the projection: Stable Diffusion 2 takes what comes before."""
    found = openclip_tensors(tensors)
    left_out = (f"{CLIP_TEXT.prefix}encoder.layers.{_VIT_H_LAYERS - 1}.", _PROJECTION)
    return {name: tensor for name, tensor in found.items() if not name.startswith(left_out)}


def _thirds(tensor: StoredTensor) -> list[StoredTensor]:
    """A tensor in three by its rows."""
    size = tensor.shape[0] // 3
    shape = (size, *tensor.shape[1:])
    return [dataclasses.replace(tensor, shape=shape, rows=(part * size, (part + 1) * size)) for part in range(3)]


def clip_fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Fields of the `config.json` of CLIP's text encoder, by the shapes of its tensors under transformers' names.

    Raises:
      KeyError: a tensor that every such network has, by its name in transformers.
    """
    return _fields(shapes) | {"hidden_act": "quick_gelu"}


def openclip_fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """As `clip_fields`, of OpenCLIP's, with its projection where there is one."""
    projection = shapes.get(f"{_PROJECTION}.weight")
    width = {} if projection is None else {"projection_dim": projection[0]}
    return _fields(shapes) | {"hidden_act": "gelu"} | width


def _fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    vocab_size, width = shapes[f"{CLIP_TEXT.prefix}embeddings.token_embedding.weight"]
    pattern = re.compile(rf"{re.escape(CLIP_TEXT.prefix)}encoder\.layers\.(\d+)\.")
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocab_size,
        "hidden_size": width,
        "max_position_embeddings": shapes[f"{CLIP_TEXT.prefix}embeddings.position_embedding.weight"][0],
        "intermediate_size": shapes[f"{CLIP_TEXT.prefix}encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len({found[1] for name in shapes if (found := pattern.match(name))}),
        "num_attention_heads": max(1, width // _HEAD_CHANNELS),
        # As in the published folders; pooling is at the highest id.
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
