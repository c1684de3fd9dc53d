"""Read and write the `text_encoder` folder of a Stable Diffusion checkpoint: transformers' `CLIPTextModel`.

Files carry the prefix `text_model.` (transformers before 5, every published Stable Diffusion) or not, and old ones the
buffer `position_ids`; all are read. Files are written with the prefix, which every transformers version loads.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.folder import (
    TRANSFORMERS_WEIGHTS,
    CheckpointError,
    Placement,
    read_config,
    read_params,
    write_config,
    write_params,
)
from lisa_jax.checkpoints.key_table import Entry, key_table
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel

Config = TypeVar("Config")

PREFIX = "text_model."
MODEL_TYPE = "clip_text_model"
ARCHITECTURE = "CLIPTextModel"

# Fields that change the network and that we know one value of.
_FIXED = {"model_type": MODEL_TYPE, "architectures": [ARCHITECTURE], "attention_dropout": 0.0, "dropout": 0.0}


def clip_text_config(config: Mapping) -> CLIPTextConfig:
    """Make our config from transformers' `config.json`; absent fields take transformers' defaults.

    Raises:
      CheckpointError: a value that this encoder does not support, by field and value.
    """
    return tower_config(CLIPTextConfig, config, _FIXED, "text encoder config")


def tower_config(kind: type[Config], config: Mapping, fixed: Mapping[str, Any], what: str) -> Config:
    """Make the config of one of CLIP's towers; absent fields take the defaults of `kind`, unknown ones are left out.

    Args:
      kind: dataclass of the config.
      config: transformers' fields.
      fixed: field -> the only value that is supported, where it is there and not null.
      what: name of the config for errors.

    Raises:
      CheckpointError: a value that is not supported, by field and value.
    """
    for field, supported in fixed.items():
        if config.get(field) not in (None, supported):
            raise CheckpointError(f"{what}: {field} {config[field]!r} is not supported, only {supported!r} is.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {name: value for name, value in config.items() if name in fields and value is not None}
    for name, value in values.items():
        kinds = (int, float) if fields[name].type is float else fields[name].type
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise CheckpointError(
                f"{what}: {name} {value!r} is not supported, only type {fields[name].type.__name__} is."
            )
    try:
        return kind(**values)
    except ValueError as error:
        raise CheckpointError(f"{what}: {error}") from error


def clip_text_config_dict(config: CLIPTextConfig) -> dict:
    """The `config.json` of an encoder, as transformers writes it."""
    return {
        "architectures": [ARCHITECTURE],
        "model_type": MODEL_TYPE,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
    } | dataclasses.asdict(config)


def clip_text_key_table(config: CLIPTextConfig) -> dict[str, Entry]:
    """Key table of the encoder, keys without the prefix `text_model.`."""
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(CLIPTextModel(config).init, jax.random.key(0), ids)["params"]
    return key_table(shapes, containers=("layers",))


def read_clip_text(
    folder: str | Path, dtype: jnp.dtype | None = None, placement: Placement = None
) -> tuple[CLIPTextConfig, dict]:
    """Read a `text_encoder` folder.

    Args:
      folder: holds `config.json` and `model.safetensors` (or its shards, or their fp16 variant).
      dtype: dtype of every leaf; None keeps the file's.
      placement: where each tensor goes as soon as it is read, see `folders.read_params`.

    Returns:
      The config and the parameter tree of `CLIPTextModel`.
    Raises:
      CheckpointError: an unsupported config, or weights that do not fit it.
    """
    config = clip_text_config(read_config(folder))
    params = read_params(
        folder,
        clip_text_key_table(config),
        dtype,
        stem=TRANSFORMERS_WEIGHTS,
        strip_prefix=PREFIX,
        ignore=("position_ids",),
        placement=placement,
    )
    return config, params


def write_clip_text(
    folder: str | Path, config: CLIPTextConfig, params: Mapping, dtype: jnp.dtype | None = None
) -> None:
    """Write a `text_encoder` folder that transformers' `CLIPTextModel.from_pretrained` loads.

    Args:
      params: parameter tree of `CLIPTextModel(config)`.
      dtype: dtype of every tensor in the file; None keeps the tree's.
    """
    written = jnp.dtype(dtype or params["final_layer_norm"]["scale"].dtype)
    # `torch_dtype` is the name that every transformers version reads; 5 calls it `dtype` in what it writes.
    write_config(folder, clip_text_config_dict(config) | {"torch_dtype": written.name})
    table = {PREFIX + key: entry for key, entry in clip_text_key_table(config).items()}
    write_params(folder, params, table, dtype, stem=TRANSFORMERS_WEIGHTS)
