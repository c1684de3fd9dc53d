"""Read a CLIP folder as transformers' `CLIPModel` and `CLIPProcessor` write it: both towers and the preprocessing."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from lisa_jax.checkpoints.clip_text import clip_text_config, tower_config
from lisa_jax.checkpoints.folder import TRANSFORMERS_WEIGHTS, CheckpointError, read_config, read_params
from lisa_jax.checkpoints.key_table import Entry, key_table
from lisa_jax.models.clip import CLIPConfig, clip_shapes
from lisa_jax.models.clip_vision import CLIPVisionConfig

MODEL_TYPE = "clip"
_FIXED_VISION = {"model_type": "clip_vision_model", "attention_dropout": 0.0, "dropout": 0.0, "num_channels": 3}
# The file holds them, the embeddings do not use them.
_IGNORED = ("position_ids", "logit_scale")

# Fields of `CLIPImageProcessor` that we know one value of. 3 is Pillow's bicubic filter.
_FIXED_PREPROCESSING = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 3,
    "do_pad": False,
}


@dataclasses.dataclass(frozen=True)
class CLIPPreprocessing:
    """How a picture becomes the image tower's input; defaults are those of transformers' `CLIPImageProcessor`."""

    shortest_edge: int = 224
    """Length of the shorter side, in pixels, after resizing."""
    crop: int = 224
    """Side of the square cut from the middle."""
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)


def clip_config(config: Mapping) -> CLIPConfig:
    """Make our config from transformers' `config.json`; absent fields take transformers' defaults.

    Raises:
      CheckpointError: a model other than CLIP, or a value that is not supported, by field and value.
    """
    if config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"model_type is {config.get('model_type')!r}, not {MODEL_TYPE!r}: give the folder of a whole CLIP model, "
            "text and image tower, as CLIPModel.save_pretrained writes it."
        )
    # A `..._config_dict`, which older files have, replaces the other where it is not null (transformers' rule).
    text, vision = (
        next((config[name] for name in (f"{tower}_config_dict", f"{tower}_config") if config.get(name) is not None), {})
        for tower in ("text", "vision")
    )
    projection_dim = config.get("projection_dim")
    if projection_dim is not None and (not isinstance(projection_dim, int) or projection_dim < 1):
        raise CheckpointError(f"CLIP config: projection_dim {projection_dim!r} is not a positive whole number.")
    return CLIPConfig(
        clip_text_config(text),
        tower_config(CLIPVisionConfig, vision, _FIXED_VISION, "image tower config"),
        CLIPConfig.projection_dim if projection_dim is None else projection_dim,
    )


def clip_key_table(config: CLIPConfig) -> dict[str, Entry]:
    """Key table of `CLIPModel`."""
    return key_table(clip_shapes(config), containers=("layers",))


def read_clip(folder: str | Path) -> tuple[CLIPConfig, dict]:
    """Read config and weights.

    Args:
      folder: holds `config.json` and `model.safetensors` (or its shards).

    Returns:
      The config and the float32 parameter tree of `CLIPModel`.
    Raises:
      CheckpointError: not a CLIP folder, an unsupported config, or weights that do not fit it.
    """
    try:
        config = clip_config(read_config(folder))
    except CheckpointError as error:
        raise CheckpointError(f"{folder} is not a CLIP folder: {error}") from error
    table = clip_key_table(config)
    return config, read_params(folder, table, jnp.float32, stem=TRANSFORMERS_WEIGHTS, ignore=_IGNORED)


def read_clip_preprocessing(folder: str | Path) -> CLIPPreprocessing:
    """Read `preprocessor_config.json`, or the part of `processor_config.json` that newer transformers write instead.

    Raises:
      CheckpointError: neither file, or a step that is not supported, by field and value.
    """
    folder = Path(folder)
    if (folder / "preprocessor_config.json").is_file():
        name, settings = "preprocessor_config.json", read_config(folder, "preprocessor_config.json")
    elif (folder / "processor_config.json").is_file():
        name = "processor_config.json"
        settings = read_config(folder, name).get("image_processor", {})
    else:
        raise CheckpointError(
            f"{folder / 'preprocessor_config.json'} is missing: it says how CLIP's pictures are resized and normalised."
        )
    for field, supported in _FIXED_PREPROCESSING.items():
        if settings.get(field) not in (None, supported):
            raise CheckpointError(
                f"{folder / name}: {field} {settings[field]!r} is not supported, only {supported!r} is."
            )
    if abs(settings.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise CheckpointError(
            f"{folder / name}: rescale_factor {settings['rescale_factor']} is not supported, 1/255 is."
        )
    default = CLIPPreprocessing()
    shortest_edge = _side(settings.get("size", default.shortest_edge), ("shortest_edge",), f"{folder / name}: size")
    crop = _side(settings.get("crop_size", default.crop), ("height", "width"), f"{folder / name}: crop_size")
    if crop > shortest_edge:
        raise CheckpointError(f"{folder / name}: crop_size {crop} is larger than the resized picture, {shortest_edge}.")
    mean, std = tuple(settings.get("image_mean", default.mean)), tuple(settings.get("image_std", default.std))
    if len(mean) != 3 or len(std) != 3:
        raise CheckpointError(f"{folder / name}: image_mean {mean} and image_std {std} must be three numbers each.")
    return CLIPPreprocessing(shortest_edge, crop, mean, std)


def _side(value: Any, names: tuple[str, ...], what: str) -> int:
    """One length, written as a number (older files) or under each of the names."""
    given = value if isinstance(value, Mapping) else dict.fromkeys(names, value)
    sides = {side for name, side in given.items() if side is not None}
    if {name for name, side in given.items() if side is not None} != set(names) or len(sides) != 1:
        raise CheckpointError(f"{what} {value!r} is not supported: one length as {' and '.join(names)} is.")
    return int(sides.pop())
