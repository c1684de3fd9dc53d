"""The autoencoder of Stable Diffusion in the original layout: names, and the config that shapes tell."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from lisa_jax.models.vae import DOWN_BLOCK, UP_BLOCK

_MID = {"block_1.": "resnets.0.", "attn_1.": "attentions.0.", "block_2.": "resnets.1."}
_ATTENTION = {"norm.": "group_norm.", "q.": "to_q.", "k.": "to_k.", "v.": "to_v.", "proj_out.": "to_out.0."}


def levels_of(names: Collection[str]) -> int:
    """Levels of an autoencoder, by its original names or those of diffusers."""
    return len({found[1] for name in names if (found := re.match(r"encoder\.down(?:_blocks)?\.(\d+)\.", name))})


def diffusers_name(name: str, levels: int) -> str:
    """The name in diffusers of a tensor of an autoencoder; one that it does not have stays as it is.

    Args:
      name: the original one.
      levels: of the autoencoder: the original counts those of the decoder from the finest on, diffusers from the other.
    """
    name = re.sub(r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out.", name)
    if found := re.fullmatch(r"(encoder|decoder)\.mid\.(block_1\.|attn_1\.|block_2\.)(.+)", name):
        half, block, rest = found.groups()
        if block == "attn_1.":
            rest = next((new + rest.removeprefix(old) for old, new in _ATTENTION.items() if rest.startswith(old)), rest)
        return f"{half}.mid_block.{_MID[block]}{rest}"
    if found := re.fullmatch(r"(encoder|decoder)\.(down|up)\.(\d+)\.(.+)", name):
        half, way, level, rest = found[1], found[2], int(found[3]), found[4]
        rest = re.sub(r"^block\.", "resnets.", rest).replace("nin_shortcut.", "conv_shortcut.")
        rest = re.sub(r"^(down|up)sample\.", r"\1samplers.0.", rest)
        return f"{half}.{way}_blocks.{level if way == 'down' else levels - 1 - level}.{rest}"
    return name


def vae_fields(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Fields of the `config.json` of an autoencoder, by the shapes of its tensors under diffusers' names.

    What shapes do not tell is left out.

    Raises:
      KeyError: a tensor that every such network has, by its name in diffusers.
    """
    levels = levels_of(shapes)
    first = {found[1] for name in shapes if (found := re.match(r"encoder\.down_blocks\.0\.resnets\.(\d+)\.", name))}
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [
            shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)
        ],
        "down_block_types": [DOWN_BLOCK] * levels,
        "up_block_types": [UP_BLOCK] * levels,
        "layers_per_block": len(first),
    }
