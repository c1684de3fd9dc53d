"""UNets and ControlNets in the original layout (CompVis, Stability AI): names, and the config that shapes tell.

That layout counts all blocks of a half through (`input_blocks.7`), where diffusers counts levels and layers in them.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Shape = tuple[int, ...]

# Part of a name in diffusers -> the original one.
_OUTSIDE = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
    "controlnet_mid_block.": "middle_block_out.0.",
}
_TO_RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
_FROM_RESNET = {old: new for new, old in _TO_RESNET.items()}
# Channels of an attention head in Stable Diffusion 2 and XL, which have linear projections; 1 has that many heads.
_HEAD_CHANNELS, _HEADS = 64, 8
# Numbers that stand for one time id in Stable Diffusion XL.
_TIME_CHANNELS = 256


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What names depend on.

    Attributes:
      layers: resnets a level of the encoder.
      hints: number of the last `input_hint_block`, by which a ControlNet's condition enters.
    """

    layers: int
    hints: int = 0

    @classmethod
    def of_controlnet(cls, layers: int, condition_channels: Sequence[int]) -> "Sizes":
        """Those of a ControlNet, by the widths of its condition's encoder."""
        # Before the last convolution of that encoder stand the first, and two a further width.
        return cls(layers, 4 * len(condition_channels) - 2)

    @classmethod
    def of(cls, names: Collection[str]) -> "Sizes":
        """Those of a network by its original names."""
        ends = _numbers(names, r"input_blocks\.(\d+)\.0\.op\.")
        blocks = _numbers(names, r"input_blocks\.(\d+)\.")
        layers = min(ends) - 1 if ends else max(blocks, default=1)
        # Of a file that is no such network, whatever it says.
        return cls(max(layers, 1), max(_numbers(names, r"input_hint_block\.(\d+)\."), default=0))


def diffusers_name(name: str, sizes: Sizes) -> str:
    """The name in diffusers of a tensor of a UNet or a ControlNet; one that neither has stays as it is."""
    for new, old in _OUTSIDE.items():
        if name.startswith(old):
            return new + _replaced(name.removeprefix(old), _FROM_RESNET)
    if found := re.fullmatch(r"input_blocks\.(\d+)\.(\d)\.(.+)", name):
        level, layer = divmod(int(found[1]) - 1, sizes.layers + 1)
        if found[3].startswith("op."):
            return f"down_blocks.{level}.downsamplers.0.conv.{found[3].removeprefix('op.')}"
        return f"down_blocks.{level}.{_layer(layer, found[2], found[3])}"
    if found := re.fullmatch(r"output_blocks\.(\d+)\.(\d)\.(.+)", name):
        level, layer = divmod(int(found[1]), sizes.layers + 1)
        if found[3].startswith("conv."):
            return f"up_blocks.{level}.upsamplers.0.{found[3]}"
        return f"up_blocks.{level}.{_layer(layer, found[2], found[3])}"
    if found := re.fullmatch(r"zero_convs\.(\d+)\.0\.(.+)", name):
        return f"controlnet_down_blocks.{found[1]}.{found[2]}"
    if found := re.fullmatch(r"input_hint_block\.(\d+)\.(.+)", name):
        number = int(found[1])
        module = {0: "conv_in", sizes.hints: "conv_out"}.get(number, f"blocks.{number // 2 - 1}")
        return f"controlnet_cond_embedding.{module}.{found[2]}"
    return name


def original_name(name: str, sizes: Sizes) -> str:
    """The original name of a tensor of a ControlNet, by that of diffusers."""
    for new, old in _OUTSIDE.items():
        if name.startswith(new):
            return old + _replaced(name.removeprefix(new), _TO_RESNET)
    if found := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.+)", name):
        level, kind, layer, rest = int(found[1]), found[2], int(found[3]), found[4]
        first = 1 + level * (sizes.layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + sizes.layers}.0.op.{rest.removeprefix('conv.')}"
        inner = f"0.{_replaced(rest, _TO_RESNET)}" if kind == "resnets" else f"1.{rest}"
        return f"input_blocks.{first + layer}.{inner}"
    if found := re.fullmatch(r"controlnet_down_blocks\.(\d+)\.(.+)", name):
        return f"zero_convs.{found[1]}.0.{found[2]}"
    if found := re.fullmatch(r"controlnet_cond_embedding\.blocks\.(\d+)\.(.+)", name):
        return f"input_hint_block.{2 * int(found[1]) + 2}.{found[2]}"
    name = name.replace("controlnet_cond_embedding.conv_in.", "input_hint_block.0.")
    return name.replace("controlnet_cond_embedding.conv_out.", f"input_hint_block.{sizes.hints}.")


def unet_fields(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Fields of the `config.json` of a UNet, by the shapes of its tensors under diffusers' names.

    What shapes do not tell is as in Stable Diffusion 1 and 2, or where there is an added embedding as in XL.

    Raises:
      KeyError: a tensor that every such network has, by its name in diffusers.
    """
    return _encoder_fields(shapes) | {
        "_class_name": "UNet2DConditionModel",
        "out_channels": shapes["conv_out.weight"][0],
        "up_block_types": [
            "CrossAttnUpBlock2D" if f"up_blocks.{level}.attentions.0.norm.weight" in shapes else "UpBlock2D"
            for level in range(_count(shapes, r"up_blocks\.(\d+)\."))
        ],
    }


def controlnet_fields(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Fields of the `config.json` of a ControlNet, otherwise as `unet_fields`."""
    return _encoder_fields(shapes) | condition_fields(shapes) | {"_class_name": "ControlNetModel"}


def condition_fields(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Those fields of a ControlNet that are of its condition, otherwise as `unet_fields`."""
    encoder = "controlnet_cond_embedding"
    # Of each pair of blocks the second goes down to the next width.
    coarser = range(1, _count(shapes, rf"{encoder}\.blocks\.(\d+)\."), 2)
    widths = [f"{encoder}.conv_in.weight", *(f"{encoder}.blocks.{block}.weight" for block in coarser)]
    return {
        "conditioning_channels": shapes[f"{encoder}.conv_in.weight"][1],
        "conditioning_embedding_out_channels": [shapes[name][0] for name in widths],
    }


def _encoder_fields(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    levels = range(_count(shapes, r"down_blocks\.(\d+)\."))
    channels = [shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in levels]
    linear = len(shapes["mid_block.attentions.0.proj_in.weight"]) == 2
    blocks = [_count(shapes, rf"down_blocks\.{level}\.attentions\.0\.transformer_blocks\.(\d+)\.") for level in levels]
    # The middle has as many as the last level, of which they say nothing where it has no attention.
    middle = _count(shapes, r"mid_block\.attentions\.0\.transformer_blocks\.(\d+)\.")
    transformer_layers = [count or 1 for count in [*blocks[:-1], blocks[-1] or middle]]
    return _added_fields(shapes) | {
        "in_channels": shapes["conv_in.weight"][1],
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["CrossAttnDownBlock2D" if count else "DownBlock2D" for count in blocks],
        "transformer_layers_per_block": transformer_layers if set(transformer_layers) != {1} else 1,
        "cross_attention_dim": shapes["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": linear,
        # diffusers calls the number of heads so.
        "attention_head_dim": [max(1, width // _HEAD_CHANNELS) for width in channels] if linear else _HEADS,
    }


def _added_fields(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Of the embedding of pooled text and time ids, where there is one."""
    if "add_embedding.linear_1.weight" not in shapes:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": _TIME_CHANNELS,
        "projection_class_embeddings_input_dim": shapes["add_embedding.linear_1.weight"][1],
    }


def _numbers(names: Collection[str], pattern: str) -> set[int]:
    """The numbers that names have in the place that a pattern of their beginning marks."""
    return {int(found[1]) for name in names if (found := re.match(pattern, name))}


def _count(names: Collection[str], pattern: str) -> int:
    return len(_numbers(names, pattern))


def _layer(layer: int, place: str, rest: str) -> str:
    """The name within a level: of a resnet, which stands first in a block, or of the attention behind it."""
    return f"resnets.{layer}.{_replaced(rest, _FROM_RESNET)}" if place == "0" else f"attentions.{layer}.{rest}"


def _replaced(rest: str, names: Mapping[str, str]) -> str:
    """The rest of a name with its first part by another name, where there is one."""
    return next((other + rest.removeprefix(one) for one, other in names.items() if rest.startswith(one)), rest)
