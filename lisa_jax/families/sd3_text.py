"""Captions of Stable Diffusion 3 and 3.5: two CLIP text encoders and, where it is there, T5's.

As diffusers' `StableDiffusion3Pipeline.encode_prompt`, but for what takes no encoder: CLIP's tokens are padded to the
width of T5's, and zeros stand for an absent T5, where the context is used, so that no zeros are stored.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import Checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.t5 import T5_ENCODER
from lisa_jax.checkpoints.t5_tokenizer import load_t5_tokenizer
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.caption_encoders import (
    CaptionEncoder,
    abstract_encoder,
    captions_of,
    cuts_of,
    load_clips,
    load_encoder,
)
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.stable_diffusion_checks import check_tokens
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModelWithProjection
from lisa_jax.models.t5_encoder import T5Config, T5EncoderModel

# What a base can do without.
T5 = "text_encoder_3"
# Tokens of T5: the pipelines' default `max_sequence_length`.
T5_LENGTH = 256


def sd3_conditioner(
    clip_l: CaptionEncoder[CLIPTextConfig],
    clip_g: CaptionEncoder[CLIPTextConfig],
    t5: CaptionEncoder[T5Config] | None,
    t5_dtype: jnp.dtype = jnp.float32,
) -> Conditioner:
    """Captions to what the transformer of Stable Diffusion 3 knows of them.

    Args:
      clip_l, clip_g: the text encoders with projections, of the same length.
      t5: the third text encoder; None: the context has no "t5".
      t5_dtype: dtype that T5 computes in, and of its tokens.

    Returns:
      A conditioner whose contexts are
        "clip": float32 (n, length, w_l + w_g), tokens before the last layer of CLIP-L and CLIP-G, side by side;
        "pooled": float32 (n, p_l + p_g), their projected end-of-text states, side by side;
        "t5": t5_dtype (n, t5 length, d), T5's tokens, those of padding included.
    """
    encoders = {"clip_l": clip_l, "clip_g": clip_g} | ({} if t5 is None else {"t5": t5})

    def read(examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Token ids of each encoder, int32 (n, length)."""
        captions = captions_of(examples)
        return {name: encoder.tokenize(captions) for name, encoder in encoders.items()}

    def encode(params: Params, ids: Tree) -> dict[str, jax.Array]:
        of_clip = [
            CLIPTextModelWithProjection(encoders[name].config).apply({"params": params[name]}, ids[name])
            for name in ("clip_l", "clip_g")
        ]
        context = {
            "clip": jnp.concatenate([output.penultimate for output in of_clip], axis=-1),
            "pooled": jnp.concatenate([output.text_embeds for output in of_clip], axis=-1),
        }
        if t5 is None:
            return context
        return context | {"t5": T5EncoderModel(t5.config, t5_dtype).apply({"params": params["t5"]}, ids["t5"])}

    def null(context: Tree, empty: Tree) -> Tree:
        """The empty caption's context, as of the pipelines' absent negative prompt."""
        return jax.tree.map(lambda leaf, of_empty: jnp.broadcast_to(of_empty, leaf.shape), context, empty)

    return Conditioner(
        lambda: {name: encoder.load_params() for name, encoder in encoders.items()},
        read,
        encode,
        null,
        _shapes(clip_l, clip_g, t5, t5_dtype),
        cuts_of(encoders),
    )


def _shapes(
    clip_l: CaptionEncoder, clip_g: CaptionEncoder, t5: CaptionEncoder | None, t5_dtype: jnp.dtype
) -> dict[str, jax.ShapeDtypeStruct]:
    width = clip_l.config.hidden_size + clip_g.config.hidden_size
    pooled = clip_l.config.projection_dim + clip_g.config.projection_dim
    shapes = {
        "clip": jax.ShapeDtypeStruct((clip_l.length, width), jnp.float32),
        "pooled": jax.ShapeDtypeStruct((pooled,), jnp.float32),
    }
    return shapes if t5 is None else shapes | {"t5": jax.ShapeDtypeStruct((t5.length, t5.config.d_model), t5_dtype)}


@dataclasses.dataclass(frozen=True)
class SD3Text:
    """The text encoders of a checkpoint, without weights.

    Attributes:
      clip_l, clip_g: configs of `text_encoder` and `text_encoder_2`.
      t5: config of `text_encoder_3`; None where there is none, or where it is left out.
    """

    clip_l: CLIPTextConfig
    clip_g: CLIPTextConfig
    t5: T5Config | None

    @property
    def components(self) -> dict[str, str | None]:
        """Component -> stem of its weights, as for `Checkpoint.fingerprint`."""
        endings = ("", "_2") if self.t5 is None else ("", "_2", "_3")
        encoders = {f"text_encoder{ending}": TRANSFORMERS_WEIGHTS for ending in endings}
        return encoders | {f"tokenizer{ending}": None for ending in endings}

    def abstract(self, t5_dtype: jnp.dtype) -> Conditioner:
        """The conditioner of the architecture alone, which reads no captions."""
        clip_l, clip_g = (abstract_encoder(clip, clip.max_position_embeddings) for clip in (self.clip_l, self.clip_g))
        return sd3_conditioner(clip_l, clip_g, self.t5 and abstract_encoder(self.t5, T5_LENGTH), t5_dtype)

    def load(self, checkpoint: Checkpoint, t5_dtype: jnp.dtype) -> Conditioner:
        """The conditioner of a checkpoint; weights are read at their first use, CLIP's in float32.

        Those of T5 stay in the precision of their files, for there are 4.8 billion; it computes in `t5_dtype`.

        Raises:
          CheckpointError: a part that is missing, does not fit its config or does not fit the others, by name.
        """
        clips, t5 = [(CLIP_TEXT_WITH_PROJECTION, config) for config in (self.clip_l, self.clip_g)], None
        clip_l, clip_g = load_clips(checkpoint, clips)
        if self.t5 is not None:
            tokenizer = load_t5_tokenizer(checkpoint, "tokenizer_3", T5_LENGTH)
            check_tokens(checkpoint, tokenizer, self.t5.vocab_size, T5_LENGTH, "_3")
            t5 = load_encoder(checkpoint, T5_ENCODER, self.t5, tokenizer, "_3")
        return sd3_conditioner(clip_l, clip_g, t5, t5_dtype)


def read_sd3_text(checkpoint: Checkpoint) -> SD3Text:
    """The configs of the text encoders of a Stable Diffusion 3 or 3.5, which may be without `text_encoder_3`.

    Raises:
      CheckpointError: a config that is missing or not supported, by file and field.
    """
    clip_l, clip_g = (CLIP_TEXT_WITH_PROJECTION.config(checkpoint, f"text_encoder{ending}") for ending in ("", "_2"))
    t5 = T5_ENCODER.config(checkpoint, T5) if checkpoint.takes(T5) else None
    return SD3Text(clip_l, clip_g, t5)
