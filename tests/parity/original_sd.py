"""Write networks of diffusers in the original layout, by the list of names that the ecosystem's converters have.

What this writes is checked with diffusers' own conversion before it is given to ours.
"""

import re

import torch
from safetensors.torch import load_file, save_file

# Substrings, in this order: diffusers' -> the original.
_RESNET = [
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv_shortcut", "skip_connection"),
]
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.resnets.1": "middle_block.2",
    "controlnet_mid_block": "middle_block_out.0",
}
_VAE = [
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
    ("mid_block.attentions.0.", "mid.attn_1."),
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.resnets.1.", "mid.block_2."),
    ("group_norm.", "norm."),
    ("to_q.", "q."),
    ("to_k.", "k."),
    ("to_v.", "v."),
    ("to_out.0.", "proj_out."),
]
_OPENCLIP = [
    ("encoder.layers.", "transformer.resblocks."),
    ("layer_norm", "ln_"),
    (".fc1.", ".c_fc."),
    (".fc2.", ".c_proj."),
    (".self_attn", ".attn"),
    ("final_ln_.", "ln_final."),
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
]


def original_unet(state, layers=2):
    """State of a UNet or a ControlNet of at most four levels with so many layers each."""
    names, ends = dict(_UNET), layers + 1
    for level in range(4):
        for layer in range(layers):
            names[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{ends * level + layer + 1}.0"
            names[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{ends * level + layer + 1}.1"
        for layer in range(ends):
            names[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{ends * level + layer}.0"
            names[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{ends * level + layer}.1"
        names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{ends * (level + 1)}.0.op"
        attends = any(key.startswith(f"up_blocks.{level}.attentions.") for key in state)
        names[f"up_blocks.{level}.upsamplers.0"] = f"output_blocks.{ends * level + layers}.{2 if attends else 1}"
    names |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in range(12)}
    names |= {f"controlnet_cond_embedding.blocks.{i}": f"input_hint_block.{2 * i + 2}" for i in range(6)}
    names |= {"controlnet_cond_embedding.conv_in": "input_hint_block.0"}
    names |= {"controlnet_cond_embedding.conv_out": "input_hint_block.14"}
    renamed = {}
    for key, tensor in state.items():
        module = max((name for name in names if key.startswith(f"{name}.")), key=len)
        rest = key.removeprefix(module)
        if ".resnets." in f".{key}":
            for new, old in _RESNET:
                rest = rest.replace(new, old)
        renamed[names[module] + rest] = tensor
    return renamed


def original_vae(state):
    """State of a VAE of four levels; its attention's maps become 1x1 convolutions."""
    renamed = {}
    for key, tensor in state.items():
        for new, old in _VAE:
            key = key.replace(new, old)
        key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets", lambda found: f"up.{3 - int(found[1])}.block", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample", key)
        is_map = "attn_1" in key and key.endswith("weight") and "norm" not in key
        renamed[key] = tensor[..., None, None] if is_map else tensor
    return renamed


def original_text(state, style):
    """State of a text encoder: `sd15` keeps its names, `sd21` takes OpenCLIP's, and what of it nobody uses."""
    state = {key.removeprefix("text_model."): tensor for key, tensor in state.items()}
    if style == "sd15":
        extra = {"embeddings.position_ids": torch.arange(77)[None]}
        return {f"transformer.text_model.{key}": tensor for key, tensor in (state | extra).items()}
    renamed, width = original_openclip(state), len(state["final_layer_norm.bias"])
    last = {f"model.transformer.resblocks.23.ln_1.{name}": torch.ones(width) for name in ("weight", "bias")}
    return renamed | last | {"model.text_projection": torch.eye(width), "model.logit_scale": torch.ones([])}


def original_openclip(state):
    """State of a text encoder, without the prefix of transformers, by OpenCLIP's names."""
    renamed = {}
    for key, tensor in state.items():
        for new, old in _OPENCLIP:
            key = key.replace(new, old)
        renamed[f"model.{key}"] = tensor
    for key in [key for key in renamed if ".q_proj." in key]:
        fused = torch.cat([renamed.pop(key.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")])
        renamed[key.replace("q_proj.", "in_proj_")] = fused
    return renamed


def original_pair(folder):
    """Both text encoders of a Stable Diffusion XL, and what of them nobody uses."""
    clip_l, clip_g = (
        {
            key.removeprefix("text_model."): tensor
            for key, tensor in load_file(folder / part / "model.safetensors").items()
        }
        for part in ("text_encoder", "text_encoder_2")
    )
    projection = {"model.text_projection": clip_g.pop("text_projection.weight").T, "model.logit_scale": torch.ones([])}
    clip_g = original_openclip(clip_g) | projection
    return {f"embedders.0.{key}": tensor for key, tensor in original_text(clip_l, "sd15").items()} | {
        f"embedders.1.{key}": tensor for key, tensor in clip_g.items()
    }


def write_original_xl(folder, path, layers):
    """Write a folder of a Stable Diffusion XL with so many layers a level as one file, and give its tensors."""
    unet, vae = (load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in ("unet", "vae"))
    parts = {
        "model.diffusion_model.": original_unet(unet, layers),
        "first_stage_model.": original_vae(vae),
        "conditioner.": original_pair(folder),
    }
    return _write(parts, path)


def write_original(folder, path, style, layers=2):
    """Write a folder of diffusers with so many layers a level as one file, and give its tensors."""
    unet, vae = (load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in ("unet", "vae"))
    parts = {
        "model.diffusion_model.": original_unet(unet, layers),
        "first_stage_model.": original_vae(vae),
        "cond_stage_model.": original_text(load_file(folder / "text_encoder" / "model.safetensors"), style),
        "": {"alphas_cumprod": torch.linspace(1, 0, 1000), "model_ema.decay": torch.ones([])},
    }
    return _write(parts, path)


def _write(parts, path):
    tensors = {prefix + key: tensor.contiguous() for prefix, part in parts.items() for key, tensor in part.items()}
    save_file(tensors, path)
    return tensors
