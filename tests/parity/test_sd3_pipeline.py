"""What is trained is what is sampled: our sampler against diffusers' whole `StableDiffusion3ControlNetPipeline`.

Captions, pictures of conditions and noise go in on both sides; final latents and the effect of control come out.
"""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    SD3ControlNetModel,
    SD3MultiControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
)
from PIL import Image
from tiny_sd3 import IMAGE_SIZE, build_tiny_sd3

from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family
from lisa_jax.sampling.generate import make_generator

SIDE, STEPS = IMAGE_SIZE // 8, 3
PROMPTS = ["a red cat", "photo of dog"]
FLOAT32 = {"frozen_dtype": "float32", "compute_dtype": "float32"}
# Style of the base -> its networks: how each differs from a copy of the first two blocks. Norms of queries and keys,
# and second attentions, are a network's own.
NETWORKS = {
    "sd3-medium": {
        "pose": {},
        "instant": {
            "num_layers": 1,
            "force_zeros_for_pooled_projection": True,
            "qk_norm": "rms_norm",
            "dual_attention_layers": (0,),
        },
    },
    "sd3.5-large": {
        "pose": {},
        "seg": {"qk_norm": None},
        "blur": {"joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None},
    },
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {style: write_folders(tmp_path_factory.mktemp("pipeline"), style) for style in NETWORKS}


def write_folders(root, style):
    """Folders of a base, with T5 or without, and of its networks; nothing in them is zero."""
    base = build_tiny_sd3(root / "base", style, t5=style == "sd3-medium")
    vae = AutoencoderKL.from_pretrained(base / "vae")
    with torch.no_grad():
        # Next to no variance, so that it does not matter what is drawn of a condition's posterior.
        vae.encoder.conv_out.weight[16:] = 0
        vae.encoder.conv_out.bias[16:] = -40
    vae.save_pretrained(base / "vae")
    transformer, found = SD3Transformer2DModel.from_pretrained(base / "transformer"), {"base": base}
    torch.manual_seed(0)
    for name, options in NETWORKS[style].items():
        fields = dict(transformer.config) | {"num_layers": 2, "force_zeros_for_pooled_projection": False} | options
        network = SD3ControlNetModel.from_config(fields)
        if network.config.use_pos_embed:
            network.pos_embed.load_state_dict(transformer.pos_embed.state_dict())
        norms = [parameter for key, parameter in network.named_parameters() if "attn" in key and "norm" in key]
        for parameter in (*network.controlnet_blocks.parameters(), *network.pos_embed_input.parameters(), *norms):
            torch.nn.init.normal_(parameter, std=0.2)
        network.save_pretrained(root / name)
        found[name] = root / name
    return found


def pictures(name):
    rng = np.random.default_rng(len(name))
    return rng.integers(0, 256, (len(PROMPTS), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


def of_diffusers(folders, names, settings, x_T):
    nets = [SD3ControlNetModel.from_pretrained(folders[name]) for name in names]
    has_t5 = (folders["base"] / "text_encoder_3").exists()
    pipeline = StableDiffusion3ControlNetPipeline.from_pretrained(
        folders["base"],
        controlnet=nets[0] if len(nets) == 1 else SD3MultiControlNetModel(nets),
        **({} if has_t5 else {"text_encoder_3": None, "tokenizer_3": None}),
    )
    pipeline.set_progress_bar_config(disable=True)
    images = [[Image.fromarray(picture) for picture in pictures(name)] for name in names]
    found = []
    for scale in (1.0, 0.0):
        with torch.no_grad():
            latents = pipeline(
                PROMPTS,
                control_image=images[0] if len(nets) == 1 else images,
                height=IMAGE_SIZE,
                width=IMAGE_SIZE,
                num_inference_steps=STEPS,
                latents=torch.from_numpy(x_T.transpose(0, 3, 1, 2).copy()),
                controlnet_conditioning_scale=scale if len(nets) == 1 else [scale] * len(nets),
                output_type="latent",
                **{name: [value] * 2 if isinstance(value, str) else value for name, value in settings.items()},
            ).images
        found.append(latents.numpy().transpose(0, 2, 3, 1))
    return found


def of_ours(folders, names, settings, x_T):
    starts = {name: str(folders[name]) for name in names}
    family = load_family(folders["base"], Setup(names, start_from=starts, **FLOAT32))
    side = family.read_start()
    generate = make_generator(family, sampler="euler", num_steps=STEPS, **settings)
    context = family.conditioner.contexts([{"caption": prompt} for prompt in PROMPTS])
    given, conditions = (context, {name: pictures(name) for name in names}), range(len(PROMPTS))
    return [
        generate.latents(family.frozen, family.latents.params, params, *given, conditions, x_T=x_T)
        for params in (side, None)
    ]


# Style of the base, networks, and what leads away from the samples.
CASES = {
    "own": ("sd3-medium", ("pose",), "cat of dog"),
    "zero_pooled": ("sd3-medium", ("instant",), ""),
    "without_text": ("sd3.5-large", ("blur",), ""),
    "two": ("sd3.5-large", ("pose", "seg"), ""),
}


@pytest.mark.parametrize(("style", "names", "negative"), CASES.values(), ids=CASES.keys())
def test_captions_and_pictures_give_the_pipeline_s_latents_and_its_effect_of_control(bases, style, names, negative):
    folders, settings = bases[style], {"guidance_scale": 4.0, "negative_prompt": negative}
    x_T = np.random.default_rng(0).standard_normal((len(PROMPTS), SIDE, SIDE, 16)).astype(np.float32)
    theirs, their_plain = of_diffusers(folders, names, settings, x_T)
    ours, our_plain = of_ours(folders, names, settings, x_T)
    largest = np.abs(theirs).max()
    errors = [np.abs(a - b).max() / largest for a, b in ((ours, theirs), (our_plain, their_plain))]
    effects = [ours - our_plain, theirs - their_plain]
    error = np.abs(effects[0] - effects[1]).max() / np.abs(effects[1]).max()
    print(f"{names}: latents {errors[0]:.1e}, without control {errors[1]:.1e} of {largest:.2f}; effect {error:.1e}")
    assert max(errors) < 1e-4 and error < 1e-3
    assert np.abs(effects[1]).max() > 0.02 * largest
