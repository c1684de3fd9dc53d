"""CLIP as transformers' `CLIPModel` and `CLIPProcessor` write it: both towers and the preprocessing."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.clip_vision import CLIP_VISION_WITH_PROJECTION
from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.models.clip import CLIPConfig, clip_shapes
from lisa_jax.models.config_fields import Range, Width, check_value, shown

MODEL_TYPE = "clip"

# Fields of `CLIPImageProcessor` that we know one value of. 3 is Pillow's bicubic filter.
_FIXED_PREPROCESSING = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 3,
    "do_pad": False,
}
_ONE_OF_255 = Annotated[float, Range(1 / 255 - 1e-9, 1 / 255 + 1e-9)]


@dataclasses.dataclass(frozen=True)
class CLIPPreprocessing:
    """How a picture becomes the image tower's input; defaults are those of transformers' `CLIPImageProcessor`."""

    shortest_edge: int = 224
    """Length of the shorter side, in pixels, after resizing."""
    crop: int = 224
    """Side of the square cut from the middle."""
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)


class _ConfigOfBothTowers:
    """The nested `config.json` of a whole CLIP, which is only read."""

    kind = CLIPConfig

    def parse(self, fields: Mapping) -> CLIPConfig:
        """Make our config; absent fields take transformers' defaults.

        Raises:
          CheckpointError: a model other than CLIP, or a value that is not supported, by field and value.
        """
        if fields.get("model_type") != MODEL_TYPE:
            raise CheckpointError(
                f"model_type is {shown(fields.get('model_type'))}, not {MODEL_TYPE!r}: give the folder of a whole CLIP "
                "model, text and image tower, as CLIPModel.save_pretrained writes it."
            )
        text, vision = _tower(fields, "text"), _tower(fields, "vision")
        projection_dim = fields.get("projection_dim")
        if projection_dim is None:
            projection_dim = CLIPConfig.projection_dim
        try:
            check_value("projection_dim", projection_dim, Width)
        except ValueError as error:
            raise CheckpointError(f"CLIP config: {error}") from error
        return CLIPConfig(
            CLIP_TEXT.config_file.parse(text), CLIP_VISION_WITH_PROJECTION.config_file.parse(vision), projection_dim
        )


def _tower(fields: Mapping, name: str) -> Mapping:
    # A `..._config_dict`, which older files have, replaces the other where it is not null (transformers' rule).
    older = fields.get(f"{name}_config_dict")
    tower = (fields.get(f"{name}_config") if older is None else older) or {}
    if not isinstance(tower, Mapping):
        raise CheckpointError(f"CLIP config: {name}_config {shown(tower)} is no object.")
    return tower


CLIP = Component(
    config_file=_ConfigOfBothTowers(),
    shapes=clip_shapes,
    containers=("layers",),
    stem=TRANSFORMERS_WEIGHTS,
    # The file holds them, the embeddings do not use them.
    ignore=("position_ids", "logit_scale"),
)


def read_clip_preprocessing(checkpoint: Checkpoint, component: str = "") -> CLIPPreprocessing:
    """Read `preprocessor_config.json`, or the part of `processor_config.json` that newer transformers write instead.

    Raises:
      CheckpointError: neither file, or a step that is not supported, by field and value.
    """
    older, newer = (checkpoint.file(component, name) for name in ("preprocessor_config.json", "processor_config.json"))
    where = older or newer
    if where is None:
        raise CheckpointError(
            f"{checkpoint.where(component, 'preprocessor_config.json')} is missing: it says how CLIP's pictures are "
            "resized and normalised."
        )
    settings = checkpoint.config(component, where.name)
    if not older:
        settings = settings.get("image_processor") or {}
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"{where}: image_processor {shown(settings)} is no object.")
    settings = {name: value for name, value in settings.items() if value is not None}
    for field, supported in _FIXED_PREPROCESSING.items():
        if settings.get(field, supported) != supported:
            raise CheckpointError(f"{where}: {field} {shown(settings[field])} is not supported, only {supported!r} is.")
    default = CLIPPreprocessing()
    try:
        check_value("rescale_factor", settings.get("rescale_factor", 1 / 255), _ONE_OF_255)
        shortest_edge = _side("size", settings.get("size", default.shortest_edge), ("shortest_edge",))
        crop = _side("crop_size", settings.get("crop_size", default.crop), ("height", "width"))
        mean = _three("image_mean", settings.get("image_mean", default.mean), Range(-1e3, 1e3))
        std = _three("image_std", settings.get("image_std", default.std), Range(1e-6, 1e3))
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error
    if crop > shortest_edge:
        raise CheckpointError(f"{where}: crop_size {crop} is larger than the resized picture, {shortest_edge}.")
    return CLIPPreprocessing(shortest_edge, crop, mean, std)


def _side(name: str, value: Any, names: tuple[str, ...]) -> int:
    """One length, written as a number (older files) or under each of the names."""
    given = value if isinstance(value, Mapping) else dict.fromkeys(names, value)
    sides = [side for side in given.values() if side is not None]
    if {name for name, side in given.items() if side is not None} != set(names) or sides != sides[:1] * len(sides):
        raise ValueError(f"{name} {shown(value)} is not supported: one length as {' and '.join(names)} is.")
    check_value(name, sides[0], Annotated[int, Range(1, 4096)])
    return sides[0]


def _three(name: str, value: Any, bounds: Range) -> tuple[float, ...]:
    """A number for each of red, green and blue."""
    numbers, number = tuple(value) if isinstance(value, list | tuple) else value, Annotated[float, bounds]
    check_value(name, numbers, tuple[number, number, number])
    return numbers
