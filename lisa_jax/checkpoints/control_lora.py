"""Control-LoRAs: what training adds to a base's encoder to make a ControlNet of it, in one file without a config.

The format is ComfyUI's (`ControlLora`; its node `ControlLoraSave` writes it), in which Stability AI published those of
Stable Diffusion XL. Tensors have the names of the original layout, without a prefix. Of every linear map and
convolution that the base has too, there are `<name>.up` and `<name>.down`: who reads the file builds the ControlNet of
the base's config, takes the base's weights and adds `up.flatten(1) @ down.flatten(1)` to them. Norms, biases, zero
convolutions and the condition's encoder are whole. An empty tensor, `lora_controlnet`, says what the file is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.original_unet import Shape, Sizes, condition_fields, original_name
from lisa_jax.checkpoints.params import check_tensors, read_params, write_params
from lisa_jax.models.controlnet import COPIED_FROM_UNET, ControlNetConfig
from lisa_jax.models.low_rank import factor_shapes

MARKER = "lora_controlnet"
CLASS_NAME = "ControlLoRA"


def fields(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """What the tensors of a file tell, by diffusers' names of their maps; the rest is its base's.

    Raises:
      KeyError: a tensor that every Control-LoRA has.
    """
    ranks = [shape[0] for name, shape in shapes.items() if name.endswith(".down")]
    if not ranks:
        raise KeyError("conv_in.down")
    # Of small maps it is less.
    return condition_fields(shapes) | {"_class_name": CLASS_NAME, "lora_rank": max(ranks)}


def is_control_lora(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is a Control-LoRA."""
    return checkpoint.has_config() and checkpoint.config().get("_class_name") == CLASS_NAME


def low_rank_table(config: ControlNetConfig, rank: int) -> dict[str, Entry]:
    """Key table of a Control-LoRA, by diffusers' names of its maps: factors in place of the base's kernels.

    Args:
      config: of the whole ControlNet.
      rank: of the factors.
    """
    table = {}
    for key, entry in CONTROLNET.key_table(config).items():
        *module, leaf = entry.path
        if leaf != "kernel" or not module[0].startswith(COPIED_FROM_UNET):
            table[key] = entry
            continue
        for name, shape in zip(("down", "up"), factor_shapes(entry.shape, rank), strict=True):
            factor = f"{key.removesuffix('.weight')}.{name}"
            table[factor] = Entry(factor, (*module, name), entry.layout, shape)
    return table


def check_control_lora(checkpoint: Checkpoint, config: ControlNetConfig, rank: int) -> None:
    """Raise CheckpointError for a Control-LoRA whose tensors do not fit a config and a rank; none is read."""
    tensors, table = checkpoint.tensors(), low_rank_table(config, rank)
    missing = sorted(table.keys() ^ tensors.keys())
    if missing:
        raise CheckpointError(
            f"{checkpoint.where()} is a Control-LoRA of another base: either it or this one has no {missing[0][:200]}."
        )
    check_tensors(tensors, table, where=checkpoint.where())


def read_control_lora(checkpoint: Checkpoint, config: ControlNetConfig, rank: int) -> dict:
    """The parameters of a Control-LoRA, numpy arrays in the file's dtype; raises as `check_control_lora`."""
    return read_params(checkpoint.tensors(), low_rank_table(config, rank), where=checkpoint.where())


def write_control_lora(
    folder: str | Path,
    name: str,
    config: ControlNetConfig,
    rank: int,
    params: Mapping,
    dtype: jnp.dtype | None = None,
) -> None:
    """Write `<name>.safetensors` into a folder, which is made where it is missing.

    Args:
      folder, name: where.
      config: of the whole ControlNet.
      rank: of the factors.
      params: its parameter tree, with factors; leaves as for `params.write_params`.
      dtype: dtype of every tensor in the file; None keeps the tree's.
    """
    sizes = Sizes.of_controlnet(config.layers_per_block, config.conditioning_embedding_out_channels)
    renamed = {original_name(key, sizes): entry for key, entry in low_rank_table(config, rank).items()}
    empty = np.zeros(0, np.float32)
    marker = Entry(MARKER, (MARKER,), "same", empty.shape)
    write_params(folder, {**params, MARKER: empty}, {**renamed, MARKER: marker}, dtype, stem=name)
