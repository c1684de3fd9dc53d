"""A new, small Stable Diffusion 3 folder with random weights, to be pretrained."""

import re
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lisa_jax.checkpoints.clip_text import CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.tokenizer import train_tokenizer
from lisa_jax.dual_branch import Params
from lisa_jax.families.pixel_text import small_clip_config
from lisa_jax.families.pixels import PIXEL_CHANNELS
from lisa_jax.families.stable_diffusion_3 import write_model_index
from lisa_jax.models.clip_text import CLIPTextModelWithProjection
from lisa_jax.models.sd3_transformer import SD3Transformer, SD3TransformerConfig
from lisa_jax.parallel.compiling import Announced

SCHEDULER_CLASS = "FlowMatchEulerDiscreteScheduler"
# Layers that are zero at birth, so that every block begins as the identity (adaLN-Zero, arXiv 2212.09748).
ZERO_AT_BIRTH = r"(norm1|norm1_context|norm_out)/linear/|^proj_out/"
# Standard deviation of CLIP's fresh embeddings.
EMBEDDING_SIZE = 0.02


def write_new_base(folder: str | Path, config: ConfigDict, captions: Sequence[str]) -> None:
    """Write `model_index.json`, `transformer`, `scheduler`, two tokenizers and two text encoders; it works on pixels.

    The tokenizers, one like the other, are trained on the captions. The text encoders are shallow CLIP text models with
    random weights that stay as they are: every word is a direction of its own, which the transformer learns to read.

    Args:
      folder: where the base goes.
      config: fields seed, transformer, text, scheduler, data.image_size, as in `configs/openmoji_flow_base.py`.
      captions: training captions.

    Raises:
      ValueError: widths or sizes that do not divide, by field.
    """
    folder = Path(folder)
    key, *text_keys = jax.random.split(jax.random.key(config.seed), 3)
    _write_text_encoders(folder, config.text, captions, text_keys)
    transformer = small_transformer_config(config)
    SD3_TRANSFORMER.write(folder / "transformer", transformer, _fresh_params(transformer, key))
    scheduler = {"num_train_timesteps": 1000} | dict(config.scheduler)
    write_config(folder / "scheduler", scheduler, SCHEDULER_CLASS, name="scheduler_config.json")
    write_model_index(folder, SCHEDULER_CLASS, has_vae=False, has_t5=False)


def small_transformer_config(config: ConfigDict) -> SD3TransformerConfig:
    """Transformer config of the fields `transformer`, `text.width` and `data.image_size` of a pretraining config.

    Queries and keys are normalised, as in Stable Diffusion 3.5: attention stays calm at the high rates of a start.
    """
    network, size = config.transformer, config.data.image_size
    return SD3TransformerConfig(
        sample_size=size,
        patch_size=network.patch_size,
        in_channels=PIXEL_CHANNELS,
        out_channels=PIXEL_CHANNELS,
        num_layers=network.num_layers,
        num_attention_heads=network.heads,
        attention_head_dim=network.head_dim,
        caption_projection_dim=network.heads * network.head_dim,
        joint_attention_dim=2 * config.text.width,
        pooled_projection_dim=2 * config.text.width,
        pos_embed_max_size=max(1, size // network.patch_size),
        qk_norm="rms_norm",
    )


def _fresh_params(config: SD3TransformerConfig, key: jax.Array) -> Params:
    inputs = (
        jnp.zeros((1, config.sample_size, config.sample_size, config.in_channels)),
        jnp.zeros((1,)),
        {
            "tokens": jnp.zeros((1, 1, config.joint_attention_dim)),
            "pooled": jnp.zeros((1, config.pooled_projection_dim)),
        },
    )

    init = Announced(SD3Transformer(config).init, "the first transformer", position=1)

    def born(path: tuple, leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jnp.zeros_like(leaf) if re.search(ZERO_AT_BIRTH, name) else leaf

    return jax.tree_util.tree_map_with_path(born, init(key, *inputs)["params"])


def _write_text_encoders(folder: Path, text: ConfigDict, captions: Sequence[str], keys: Sequence[jax.Array]) -> None:
    endings = ("", "_2")
    for ending in endings:
        tokenizer = train_tokenizer(captions, text.vocab_size, text.max_length, folder / f"tokenizer{ending}")
    config = small_clip_config(text, tokenizer)
    ids = jnp.zeros((1, text.max_length), jnp.int32)
    init = Announced(CLIPTextModelWithProjection(config).init, "the first text encoder", position=1)
    for ending, key in zip(endings, keys, strict=True):
        params = _with_unit_embeddings(init(key, ids)["params"])
        CLIP_TEXT_WITH_PROJECTION.write(folder / f"text_encoder{ending}", config, params)


def _with_unit_embeddings(params: Params) -> Params:
    """With embeddings of standard deviation 1: what the transformer sees of them passes no norm before."""
    model = params["text_model"]
    embeddings = jax.tree.map(lambda leaf: leaf / EMBEDDING_SIZE, model["embeddings"])
    return params | {"text_model": model | {"embeddings": embeddings}}
