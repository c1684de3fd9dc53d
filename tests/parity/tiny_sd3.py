"""Build a tiny Stable Diffusion 3 or 3.5 folder with diffusers and transformers: random weights, nothing fetched.

It has the shape of a published one: three kinds of transformer, a VAE of 16 channels with a shift, two CLIP text
encoders with projections that publish `eos_token_id` 2, tokenizers of which the second pads with `!`, and T5.
"""

import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tiny_sd import write_tokenizer
from tiny_t5_tokenizer import SPIECE, tiny_t5_tokenizer
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel

IMAGE_SIZE = 64
# Widths of CLIP-L, CLIP-G and T5; those of both projections. None is another's, or a sum of others.
WIDTHS, PROJECTIONS = (16, 24, 48), (12, 20)
HEAD = 8

_STYLES = {
    "sd3-medium": {},
    "sd3.5-medium": {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)},
    "sd3.5-large": {"qk_norm": "rms_norm", "num_attention_heads": 3, "caption_projection_dim": 3 * HEAD},
}


def build_tiny_sd3(folder: str | Path, style: str = "sd3-medium", *, t5: bool = True) -> Path:
    """Write the folder: model_index.json, transformer, vae, scheduler, two or three text encoders and tokenizers.

    Args:
      folder: made where it is missing.
      style: `sd3-medium`, `sd3.5-medium` (norms of queries and keys, dual attention in the first layers) or
        `sd3.5-large` (norms, another width).
      t5: whether there are `text_encoder_3` and `tokenizer_3`.

    Returns:
      The folder, which `StableDiffusion3Pipeline.from_pretrained` loads, and `StableDiffusion3ControlNetPipeline`
      beside a ControlNet; images are 64 x 64, latents 8 x 8 x 16.
    """
    folder = Path(folder)
    for name, pad in (("tokenizer", "sd15"), ("tokenizer_2", "sd21")):
        write_tokenizer(folder / name, pad)
    tokenizers = [CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2")]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip_l, clip_g = _clip(0, len(tokenizers[0]), "quick_gelu"), _clip(1, len(tokenizers[1]), "gelu")
        networks = [_transformer(style), _vae(), clip_l, clip_g, *([_t5()] if t5 else [])]
        for network in networks:
            _randomise(network)
    transformer, vae, _, _, *third = networks
    StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae,
        clip_l,
        tokenizers[0],
        clip_g,
        tokenizers[1],
        third[0] if t5 else None,
        tiny_t5_tokenizer() if t5 else None,
    ).save_pretrained(folder)
    for name, pad in (("tokenizer", "sd15"), ("tokenizer_2", "sd21")):  # as published; transformers 5 saves other files
        shutil.rmtree(folder / name)
        write_tokenizer(folder / name, pad)
    if t5:
        shutil.copy(SPIECE, folder / "tokenizer_3" / "spiece.model")
    return folder


def _transformer(style: str) -> SD3Transformer2DModel:
    fields = {"num_attention_heads": 2, "caption_projection_dim": 2 * HEAD} | _STYLES[style]
    return SD3Transformer2DModel(
        sample_size=IMAGE_SIZE // 8,
        num_layers=3,
        attention_head_dim=HEAD,
        joint_attention_dim=WIDTHS[2],
        pooled_projection_dim=sum(PROJECTIONS),
        pos_embed_max_size=6,
        **fields,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=IMAGE_SIZE,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip(index: int, vocab_size: int, activation: str) -> CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTHS[index],
        intermediate_size=2 * WIDTHS[index],
        num_hidden_layers=2 + index,
        num_attention_heads=2,
        projection_dim=PROJECTIONS[index],
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return CLIPTextModelWithProjection(config)


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=208,
        d_model=WIDTHS[2],
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=3,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


@torch.no_grad()
def _randomise(network: torch.nn.Module) -> None:
    """Move biases and norms off 0 and 1, and tell what zeros and too small weights would hide."""
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
