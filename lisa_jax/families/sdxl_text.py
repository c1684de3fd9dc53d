"""Captions of Stable Diffusion XL, CLIP-L and CLIP-G, and what it is told of a picture's size.

As diffusers' `StableDiffusionXLPipeline.encode_prompt` and `_get_add_time_ids`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.caption_encoders import CaptionEncoder, abstract_encoder, captions_of, cuts_of, load_clips
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from lisa_jax.models.config_fields import shown
from lisa_jax.models.encoder import TIME_IDS

# What an example tells of its picture, two numbers each, in the order of the time ids.
PICTURE_FIELDS = ("original_size", "crop", "size")


def sdxl_conditioner(
    clip_l: CaptionEncoder[CLIPTextConfig], clip_g: CaptionEncoder[CLIPTextConfig], *, zeros_when_empty: bool
) -> Conditioner:
    """Examples to what the UNet of Stable Diffusion XL knows of them.

    Args:
      clip_l, clip_g: the text encoders, the second with a projection, of the same length.
      zeros_when_empty: where there is no caption, tokens and pooled text are zeros, not those of the empty caption.

    Returns:
      A conditioner whose contexts are
        "tokens": float32 (n, length, w_l + w_g), tokens before the last layer of CLIP-L and CLIP-G, side by side;
        "pooled": float32 (n, p_g), CLIP-G's projected end-of-text state;
        "time_ids": int32 (n, 6), an example's `original_size`, `crop` and `size`. In bfloat16, which context is stored
        in, they would be rounded.
    """
    encoders = {"clip_l": clip_l, "clip_g": clip_g}

    def read(examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Token ids of both encoders, int32 (n, length), and time ids, int32 (n, 6)."""
        captions = captions_of(examples)
        ids = {name: encoder.tokenize(captions) for name, encoder in encoders.items()}
        return ids | {"time_ids": np.array([time_ids(example) for example in examples], np.int32)}

    def encode(params: Params, inputs: Tree) -> dict[str, jax.Array]:
        of_l = CLIPTextModel(clip_l.config).apply({"params": params["clip_l"]}, inputs["clip_l"])
        of_g = CLIPTextModelWithProjection(clip_g.config).apply({"params": params["clip_g"]}, inputs["clip_g"])
        tokens = jnp.concatenate([of_l.penultimate, of_g.penultimate], axis=-1)
        return {"tokens": tokens, "pooled": of_g.text_embeds, "time_ids": inputs["time_ids"]}

    def null(context: Tree, empty: Tree) -> Tree:
        """Zeros, or the empty caption's tokens and pooled text, beside the time ids of the context."""
        text = {name: empty[name] for name in ("tokens", "pooled")}
        if zeros_when_empty:
            text = jax.tree.map(jnp.zeros_like, text)
        return {name: jnp.broadcast_to(text.get(name, leaf), leaf.shape) for name, leaf in context.items()}

    width = clip_l.config.hidden_size + clip_g.config.hidden_size
    shapes = {
        "tokens": jax.ShapeDtypeStruct((clip_l.length, width), jnp.float32),
        "pooled": jax.ShapeDtypeStruct((clip_g.config.projection_dim,), jnp.float32),
        "time_ids": jax.ShapeDtypeStruct((TIME_IDS,), jnp.int32),
    }
    return Conditioner(
        lambda: {name: encoder.load_params() for name, encoder in encoders.items()},
        read,
        encode,
        null,
        shapes,
        cuts_of(encoders),
        kept=("time_ids",),
        asked=_made_at_its_size,
    )


def _made_at_its_size(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context of pictures of its sizes that were never resized nor cropped, as diffusers' pipeline asks for."""
    size = np.asarray(context["time_ids"])[:, 4:]
    return {**context, "time_ids": np.concatenate([size, np.zeros_like(size), size], axis=1)}


def time_ids(example: Mapping[str, Any]) -> list[int]:
    """Height and width of the original, top and left of the crop, height and width of the picture.

    Raises:
      ValueError: an example that does not tell them, by name.
    """
    for name in PICTURE_FIELDS:
        if name not in example:
            raise ValueError(
                f"An example tells no {name} of its picture, which Stable Diffusion XL is to know: prepare the data "
                "set again."
            )
    return [int(number) for name in PICTURE_FIELDS for number in example[name]]


@dataclasses.dataclass(frozen=True)
class SDXLText:
    """The text encoders of a checkpoint, without weights.

    Attributes:
      clip_l, clip_g: configs of `text_encoder` and `text_encoder_2`.
      zeros_when_empty: `force_zeros_for_empty_prompt` of `model_index.json`.
    """

    clip_l: CLIPTextConfig
    clip_g: CLIPTextConfig
    zeros_when_empty: bool = True

    @property
    def components(self) -> dict[str, str | None]:
        """Component -> stem of its weights, as for `Checkpoint.fingerprint`."""
        encoders = dict.fromkeys(("text_encoder", "text_encoder_2"), TRANSFORMERS_WEIGHTS)
        return encoders | dict.fromkeys(("tokenizer", "tokenizer_2"))

    def abstract(self) -> Conditioner:
        """The conditioner of the architecture alone, which reads no captions."""
        encoders = (abstract_encoder(clip, clip.max_position_embeddings) for clip in (self.clip_l, self.clip_g))
        return sdxl_conditioner(*encoders, zeros_when_empty=self.zeros_when_empty)

    def load(self, checkpoint: Checkpoint) -> Conditioner:
        """The conditioner of a checkpoint; weights are read at their first use, in float32.

        Raises:
          CheckpointError: a part that is missing, does not fit its config or does not fit the others, by name.
        """
        clips = ((CLIP_TEXT, self.clip_l), (CLIP_TEXT_WITH_PROJECTION, self.clip_g))
        return sdxl_conditioner(*load_clips(checkpoint, clips), zeros_when_empty=self.zeros_when_empty)


def read_sdxl_text(checkpoint: Checkpoint) -> SDXLText:
    """The configs of a checkpoint's text encoders, and whether no caption is zeros.

    Raises:
      CheckpointError: a config that is missing or not supported, by file and field.
    """
    clip_l = CLIP_TEXT.config(checkpoint, "text_encoder")
    clip_g = CLIP_TEXT_WITH_PROJECTION.config(checkpoint, "text_encoder_2")
    return SDXLText(clip_l, clip_g, _zeros_when_empty(checkpoint))


def _zeros_when_empty(checkpoint: Checkpoint) -> bool:
    """diffusers' default is true, also of an index without the field."""
    name = "force_zeros_for_empty_prompt"
    found = checkpoint.config("", "model_index.json").get(name, True)
    if type(found) is not bool:
        raise CheckpointError(
            f"{checkpoint.where(name='model_index.json')}: {name} is {shown(found)}, but must be true or false."
        )
    return found
