"""Final latents against diffusers' whole `StableDiffusionControlNetPipeline`, from the same noise."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tiny_sd import CONTEXT, IMAGE_SIZE, build_tiny_sd  # noqa: E402

from lisa_jax.checkpoints.checkpoint import open_checkpoint  # noqa: E402
from lisa_jax.families.family import Setup  # noqa: E402
from lisa_jax.families.registry import architecture_of  # noqa: E402
from lisa_jax.sampling.generate import make_generator  # noqa: E402

SIDE = IMAGE_SIZE // 8
PROMPTS, NEGATIVE = ["a red cat", "photo of dog"], "cat of dog"
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Prediction type or zero_snr -> folder of a base; names -> folders of ControlNets with open zero convolutions."""
    root = tmp_path_factory.mktemp("pipeline")
    torch.manual_seed(0)
    # Two levels of one layer: compiling is what takes the time.
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=CONTEXT,
        attention_head_dim=4,
    )
    bases = {kind: build_tiny_sd(root / kind, "sd21", kind) for kind in ("epsilon", "v_prediction")}
    bases["zero_snr"] = shutil.copytree(bases["v_prediction"], root / "zero_snr")
    config = bases["zero_snr"] / "scheduler" / "scheduler_config.json"
    zero_snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    config.write_text(json.dumps(json.loads(config.read_text()) | zero_snr))
    for base in bases.values():
        unet.save_pretrained(base / "unet")
    for name, options in {"edges": {}, "depth": {}, "pooled": {"global_pool_conditions": True}}.items():
        network = diffusers.ControlNetModel.from_unet(unet)
        network.register_to_config(**options)
        for part in (network.controlnet_down_blocks, network.controlnet_mid_block, network.controlnet_cond_embedding):
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
        network.save_pretrained(root / name)
    return bases | {name: root / name for name in ("edges", "depth", "pooled")}


def conditions(seed):
    return np.random.default_rng(seed).integers(0, 256, (len(PROMPTS), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


CASES = {
    # sampler, prediction, steps, networks with scale, start and end, further arguments that both sides know
    "ddim": ("ddim", "epsilon", 7, {"edges": (0.7, 0.0, 1.0)}, {"negative_prompt": NEGATIVE, "guidance_scale": 7.5}),
    "euler_window": ("euler", "zero_snr", 5, {"edges": (1.0, 0.2, 0.7)}, {"guidance_scale": 5.0}),
    "dpmpp_guess": ("dpmpp_2m", "epsilon", 6, {"edges": (0.9, 0.0, 1.0)}, {"guidance_scale": 4.0, "guess_mode": True}),
    "guess_without_guidance": (
        "ddim",
        "epsilon",
        3,
        {"edges": (1.0, 0.0, 1.0)},
        {"guidance_scale": 1.0, "guess_mode": True},
    ),
    "pooled": ("ddim", "zero_snr", 4, {"pooled": (1.0, 0.0, 1.0)}, {"guidance_scale": 4.0}),
    "two_networks": (
        "dpmpp_2m",
        "zero_snr",
        6,
        {"edges": (0.5, 0.0, 0.5), "depth": (1.2, 0.3, 1.0)},
        {"guidance_scale": 7.5},
    ),
}


@pytest.mark.parametrize(("sampler", "prediction", "steps", "networks", "shared"), CASES.values(), ids=CASES.keys())
def test_final_latents(folders, sampler, prediction, steps, networks, shared):
    base = folders[prediction]
    x_T = np.random.default_rng(0).standard_normal((len(PROMPTS), SIDE, SIDE, 4)).astype(np.float32)
    pictures = {name: conditions(seed) for seed, name in enumerate(networks)}
    theirs, context, negative = run_diffusers(folders, base, sampler, steps, networks, pictures, shared, x_T)
    ours = run_ours(folders, base, sampler, steps, networks, pictures, shared, x_T, context, negative)
    off = {name: (0.0, *window) for name, (_, *window) in networks.items()}
    plain, *_ = run_diffusers(folders, base, sampler, steps, off, pictures, shared, x_T)
    largest = np.abs(theirs).max()
    error, moved = np.abs(ours - theirs).max() / largest, np.abs(plain - theirs).max() / largest
    print(f"{sampler}: error {error:.1e} of the largest latent, {largest:.2f}; control moves one by {moved:.2f} of it")
    assert error < 1e-4 and moved > 0.02


def run_diffusers(folders, base, sampler, steps, networks, pictures, shared, x_T):
    nets = [diffusers.ControlNetModel.from_pretrained(folders[name]) for name in networks]
    single = len(nets) == 1
    pipeline = diffusers.StableDiffusionControlNetPipeline.from_pretrained(
        base, controlnet=nets[0] if single else nets, safety_checker=None, feature_extractor=None
    )
    scheduler = getattr(diffusers, SCHEDULERS[sampler])
    pipeline.scheduler = scheduler.from_pretrained(base / "scheduler")
    pipeline.set_progress_bar_config(disable=True)
    images = [[Image.fromarray(picture) for picture in pictures[name]] for name in networks]
    scales, starts, ends = (list(part) for part in zip(*networks.values(), strict=True))
    settings = dict(shared)
    if "negative_prompt" in settings:
        settings["negative_prompt"] = [settings["negative_prompt"]] * len(PROMPTS)
    with torch.no_grad():
        latents = pipeline(
            PROMPTS,
            # Of several networks: a list of pictures an example, one a network.
            image=images[0] if single else [list(row) for row in zip(*images, strict=True)],
            height=IMAGE_SIZE,
            width=IMAGE_SIZE,
            num_inference_steps=steps,
            latents=torch.from_numpy(x_T.transpose(0, 3, 1, 2).copy()),
            controlnet_conditioning_scale=scales[0] if single else scales,
            control_guidance_start=starts[0] if single else starts,
            control_guidance_end=ends[0] if single else ends,
            output_type="latent",
            **settings,
        ).images
        context, negative = pipeline.encode_prompt(
            PROMPTS, "cpu", 1, True, settings.get("negative_prompt", [""] * len(PROMPTS))
        )
    return latents.numpy().transpose(0, 2, 3, 1), context.numpy(), negative.numpy()


def run_ours(folders, base, sampler, steps, networks, pictures, shared, x_T, context, negative):
    checkpoint, starts = open_checkpoint(base), {name: str(folders[name]) for name in networks}
    setup = Setup(tuple(networks), start_from=starts, frozen_dtype="float32", compute_dtype="float32")
    family = architecture_of(checkpoint).load(setup, checkpoint)
    scale, start, end = (dict(zip(networks, values, strict=True)) for values in zip(*networks.values(), strict=True))
    generator = make_generator(
        family,
        sampler=sampler,
        num_steps=steps,
        control_scale=scale,
        control_start=start,
        control_end=end,
        **{key: value for key, value in shared.items() if key != "negative_prompt"},
    )
    return generator.latents(
        family.frozen,
        {},
        family.read_start(),
        context,
        pictures,
        range(len(PROMPTS)),
        x_T=x_T,
        negative_context=negative,
    )
