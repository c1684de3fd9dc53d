"""What is trained is what is sampled: our sampler against diffusers' whole `StableDiffusionXLControlNetPipeline`.

Captions, pictures of conditions and noise go in on both sides; final latents and the effect of control come out.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline, UNet2DConditionModel
from PIL import Image

from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of
from lisa_jax.families.registry import load_family
from lisa_jax.sampling.generate import make_generator

# Height and width differ, so that the time ids cannot be exchanged.
SIZE, STEPS = (48, 64), 3
PROMPTS = ["a red cat", "photo of dog"]
NAMES = ("pose", "blurred")
FLOAT32 = {"frozen_dtype": "float32", "compute_dtype": "float32"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base and two networks; nothing in them is zero."""
    root = tmp_path_factory.mktemp("pipeline")
    base = write_base(root / "base")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name in NAMES:
            network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8, 8, 16))
            for parameter in network.parameters():
                parameter.data.add_(0.1 * torch.randn_like(parameter))
            network.save_pretrained(root / name)
    return root


def write_base(folder):
    """The tiny preset with one layer a block."""
    tiny = preset_of("tiny_sdxl")
    unet = dataclasses.replace(tiny.unet, layers_per_block=1, transformer_layers_per_block=1)
    dataclasses.replace(tiny, unet=unet).write(folder, seed=0)
    return folder


def picture(name):
    """One for all prompts: diffusers takes no others for several networks."""
    return np.random.default_rng(len(name)).integers(0, 256, (*SIZE, 3), np.uint8)


def of_diffusers(folders, names, settings, x_T):
    nets = [ControlNetModel.from_pretrained(folders / name) for name in names]
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
        folders / "base", controlnet=nets if len(nets) > 1 else nets[0], add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    images = [Image.fromarray(picture(name)) for name in names]
    found = []
    for scale in (1.0, 0.0):
        with torch.no_grad():
            latents = pipeline(
                PROMPTS,
                image=images if len(nets) > 1 else images[0],
                height=SIZE[0],
                width=SIZE[1],
                num_inference_steps=STEPS,
                latents=torch.from_numpy(x_T.transpose(0, 3, 1, 2).copy()),
                controlnet_conditioning_scale=[scale] * len(nets) if len(nets) > 1 else scale,
                output_type="latent",
                **{name: [value] * 2 if isinstance(value, str) else value for name, value in settings.items()},
            ).images
        found.append(latents.numpy().transpose(0, 2, 3, 1))
    return found


def of_ours(folders, names, settings, x_T):
    starts = {name: str(folders / name) for name in names}
    family = load_family(folders / "base", Setup(names, start_from=starts, **FLOAT32))
    generate = make_generator(family, sampler="euler", num_steps=STEPS, **settings)
    example = {"size": SIZE, "original_size": SIZE, "crop": (0, 0)}
    context = family.conditioner.contexts([{"caption": prompt, **example} for prompt in PROMPTS])
    conditions = {name: np.stack([picture(name)] * len(PROMPTS)) for name in names}
    given, indices = (context, conditions), range(len(PROMPTS))
    return [
        generate.latents(family.frozen, family.latents.params, params, *given, indices, x_T=x_T)
        for params in (family.read_start(), None)
    ]


# Networks, and what leads away from the samples.
CASES = {
    "negative_prompt_and_guess_mode": (("pose",), {"negative_prompt": "cat of dog", "guess_mode": True}),
    "two_networks_and_zeros": (NAMES, {}),
}


@pytest.mark.parametrize(("names", "settings"), CASES.values(), ids=CASES.keys())
def test_captions_and_pictures_give_the_pipeline_s_latents_and_its_effect_of_control(folders, names, settings):
    settings = {"guidance_scale": 4.0, **settings}
    x_T = np.random.default_rng(0).standard_normal((len(PROMPTS), SIZE[0] // 8, SIZE[1] // 8, 4)).astype(np.float32)
    theirs, their_plain = of_diffusers(folders, names, settings, x_T)
    ours, our_plain = of_ours(folders, names, settings, x_T)
    largest = np.abs(theirs).max()
    errors = [np.abs(a - b).max() / largest for a, b in ((ours, theirs), (our_plain, their_plain))]
    effects = [ours - our_plain, theirs - their_plain]
    error = np.abs(effects[0] - effects[1]).max() / np.abs(effects[1]).max()
    print(f"{names}: latents {errors[0]:.1e}, without control {errors[1]:.1e} of {largest:.2f}; effect {error:.1e}")
    assert max(errors) < 1e-4 and error < 1e-4
    assert np.abs(effects[1]).max() > 0.02 * largest


@torch.no_grad()
@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "empty"])
def test_contexts_equal_the_pipeline_with_a_negative_prompt_and_without(folders, zeros, tmp_path, max_difference):
    base = write_base(tmp_path / "base")
    index = json.loads((base / "model_index.json").read_text())
    assert index["force_zeros_for_empty_prompt"] is True
    (base / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": zeros}))
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
        base, controlnet=ControlNetModel.from_pretrained(folders / "pose"), add_watermarker=False
    )
    conditioner = load_family(base, Setup(**FLOAT32)).conditioner
    context = conditioner.contexts(
        [{"caption": prompt, "size": SIZE, "original_size": (480, 600), "crop": (3, 0)} for prompt in PROMPTS]
    )
    negative = conditioner.negatives(context, ["cat of dog", ""])
    expected = [pipeline.encode_prompt(PROMPTS[0], negative_prompt="cat of dog", device="cpu")]
    expected.append(pipeline.encode_prompt(PROMPTS[1], negative_prompt=None, device="cpu"))
    tokens, negative_tokens, pooled, negative_pooled = map(torch.cat, zip(*expected, strict=True))
    theirs = (tokens, pooled, negative_tokens, negative_pooled)
    ours = (context["tokens"], context["pooled"], negative["tokens"], negative["pooled"])
    assert max_difference(theirs, ours) < 1e-5
    assert bool(np.any(negative["tokens"][1])) is not zeros
    for one in (context, negative, conditioner.null(context, conditioner.empty)):
        np.testing.assert_array_equal(one["time_ids"], [[480, 600, 3, 0, *SIZE]] * 2)
    np.testing.assert_array_equal(conditioner.null(context, conditioner.empty)["tokens"][1], negative["tokens"][1])
