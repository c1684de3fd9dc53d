"""Build a tiny Stable Diffusion folder with diffusers and transformers: random weights, nothing fetched.

It has the shape of a published one (four levels, 12 + 1 control residuals, 8x VAE, a text encoder that publishes
`eos_token_id` 2, a tokenizer of vocab.json and merges.txt), at less than two million parameters.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CONTEXT = 32
IMAGE_SIZE = 64
MERGES = ["c a", "ca t</w>", "d o", "do g</w>", "r e", "re d</w>", "p h", "o t", "ph ot", "phot o</w>", "o f</w>"]

_UNET = {
    "sd15": {"attention_head_dim": 4},
    "sd21": {"attention_head_dim": [2, 4, 4, 4], "use_linear_projection": True},
}
_TEXT = {
    "sd15": {"hidden_act": "quick_gelu", "projection_dim": 32},
    "sd21": {"hidden_act": "gelu", "projection_dim": 16},
}
_PAD = {"sd15": "<|endoftext|>", "sd21": "!"}
_SCHEDULER = {"sd15": PNDMScheduler, "sd21": DDIMScheduler}


def build_tiny_sd(folder: str | Path, style: str = "sd21", prediction_type: str = "epsilon") -> Path:
    """Write the folder: model_index.json, unet, vae, text_encoder, tokenizer, scheduler.

    Args:
      style: `sd21` (linear projections, heads a level, GELU, padding `!`) or `sd15` (convolutional projections, one
        number of heads, quick GELU, padding `<|endoftext|>`).
      prediction_type: `epsilon` or `v_prediction`.

    Returns:
      The folder, which `StableDiffusionPipeline.from_pretrained` loads; images are 64 x 64, latents 8 x 8 x 4.
    """
    folder = Path(folder)
    write_tokenizer(folder / "tokenizer", style)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet, vae, text_encoder = _unet(style), _vae(), _text_encoder(style, len(tokenizer))
        for model in (unet, vae, text_encoder):
            _randomise_vectors(model)
    scheduler = _SCHEDULER[style](
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction_type,
        set_alpha_to_one=False,
        steps_offset=1,
        **({"skip_prk_steps": True} if style == "sd15" else {"clip_sample": False}),
    )
    StableDiffusionPipeline(
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")  # transformers 5 saves tokenizer.json; published folders have the older files
    write_tokenizer(folder / "tokenizer", style)
    return folder


def write_tokenizer(folder: Path, style: str) -> None:
    """Write a tokenizer folder as Stable Diffusion publishes it, with a vocabulary of 256 bytes and a few merges."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = sorted(ByteLevel.alphabet())
    tokens = [*characters, *(c + "</w>" for c in characters), *(merge.replace(" ", "") for merge in MERGES)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    matching = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    special = {
        "bos_token": {"content": "<|startoftext|>"} | matching,
        "eos_token": {"content": "<|endoftext|>"} | matching,
        "unk_token": {"content": "<|endoftext|>"} | matching,
    }
    typed = {name: token | {"__type": "AddedToken"} for name, token in special.items()}
    settings = {"model_max_length": 77, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer"} | typed
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special | {"pad_token": _PAD[style]}))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _unet(style: str) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        cross_attention_dim=CONTEXT,
        **_UNET[style],
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=IMAGE_SIZE,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        scaling_factor=0.18215,
    )


def _text_encoder(style: str, vocab_size: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=CONTEXT,
        intermediate_size=4 * CONTEXT,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
        **_TEXT[style],
    )
    return CLIPTextModel(config)


@torch.no_grad()
def _randomise_vectors(model: torch.nn.Module) -> None:
    """Move biases and norms off 0 and 1, where mixing them up would go unseen."""
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))
