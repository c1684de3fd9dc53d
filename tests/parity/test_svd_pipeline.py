"""What is trained is what is sampled: our sampler against diffusers' whole `StableVideoDiffusionPipeline`.

The exported network goes into it by the PyTorch file that is exported beside it. First frames, frames of conditions and
noise go in on both sides; final latents, with control and without, come out.
"""

import dataclasses
import importlib.util
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion
from PIL import Image
from toys.members import MEMBERS

from lisa_jax.checkpoints.checkpoint import CheckpointError
from lisa_jax.families import stable_video_diffusion
from lisa_jax.families.registry import load_family
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.noise import row_keys

MEMBER = MEMBERS[stable_video_diffusion.read_architecture]
SIZE, STEPS = (3, 8, 8), 2
GUIDANCE = {"num_steps": STEPS, "guidance_scale": 3.0, "min_guidance_scale": 1.5}
RNG = np.random.default_rng(0)
EXAMPLES = [{"first_frame": RNG.integers(0, 256, (8, 8, 3), np.uint8), "fps": 7, "caption": ""} for _ in range(2)]
CONDITION = RNG.integers(0, 256, (2, *SIZE, 3), np.uint8)
X_T = RNG.standard_normal((2, *SIZE, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svd") / "base"
    MEMBER.write(folder)
    return folder


@pytest.fixture(scope="module")
def family(base):
    return load_family(base, MEMBER.setup)


@pytest.fixture(scope="module")
def side(family):
    """A side network in which nothing is zero."""
    model = family.model.sides["pose"]
    fresh, rng = jax.jit(model.init)(family.read_start()["pose"], jax.random.key(0)), np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf if np.any(leaf) else jnp.float32(0.2 * rng.standard_normal(leaf.shape)), fresh
    )


@pytest.fixture(scope="module")
def exported(family, side, tmp_path_factory):
    folder = tmp_path_factory.mktemp("svd_pose")
    family.write_side(folder, "pose", side)
    (folder / family.usage.module.name).write_text(family.usage.module.read_text())
    return folder


def ours(family, side):
    generate = make_generator(family, sampler="euler", **GUIDANCE)
    context = family.conditioner.contexts(EXAMPLES)
    return [
        generate.latents(family.frozen, family.latents.params, params, context, {"pose": CONDITION}, [0, 1], x_T=X_T)
        for params in ({"pose": side}, None)
    ]


@torch.no_grad()
def of_diffusers(base, exported, monkeypatch):
    spec = importlib.util.spec_from_file_location("exported", exported / "temporal_controlnet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pipeline = StableVideoDiffusionPipeline.from_pretrained(base, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    controlnet = module.LisaJaxTemporalControlNet.from_pretrained(exported, low_cpu_mem_usage=False).eval()
    # The noise that our sampler adds to the first frames.
    _, keys = zip(*(jax.random.split(key) for key in row_keys(0, [0, 1])), strict=True)
    noise = torch.from_numpy(np.stack([jax.random.normal(key, (8, 8, 3)) for key in keys])).permute(0, 3, 1, 2)
    monkeypatch.setattr(pipeline_stable_video_diffusion, "randn_tensor", lambda *_, **__: noise)

    def latents():
        return pipeline(
            [Image.fromarray(example["first_frame"]) for example in EXAMPLES],
            height=8,
            width=8,
            num_frames=3,
            num_inference_steps=STEPS,
            min_guidance_scale=GUIDANCE["min_guidance_scale"],
            max_guidance_scale=GUIDANCE["guidance_scale"],
            latents=torch.from_numpy(X_T.transpose(0, 1, 4, 2, 3).copy()),
            output_type="latent",
        ).frames

    condition = torch.from_numpy(CONDITION.transpose(0, 1, 4, 2, 3).copy()) / 255
    with module.controlled(pipeline.unet, controlnet, condition):
        found = latents()
    return [one.numpy().transpose(0, 1, 3, 4, 2) for one in (found, latents())]


def test_first_frames_and_conditions_give_the_pipeline_s_latents_with_control_and_without(
    base, family, side, exported, monkeypatch
):
    theirs, found = of_diffusers(base, exported, monkeypatch), ours(family, side)
    largest = np.abs(theirs[1]).max()
    errors = [np.abs(a - b).max() / largest for a, b in zip(found, theirs, strict=True)]
    print(f"errors {errors} of {largest:.2f}")
    assert max(errors) < 1e-4
    assert np.abs(theirs[0] - theirs[1]).max() > 0.02 * largest


def test_an_export_is_verified_in_pytorch(family, side, exported):
    measured = family.check_export(exported, side, jnp.dtype(jnp.float32), SIZE, verifies=True)
    assert measured.difference < 1e-4 * measured.largest and measured.diffusers_version


def test_a_network_in_circulation_goes_on_by_its_own_rules_and_says_so(base, family, side, exported, tmp_path):
    config = json.loads((exported / "config.json").read_text())
    assert config.pop("added_in_every_block") is False
    (tmp_path / "config.json").write_text(json.dumps(config | {"_class_name": "ControlNetSDVModel"}))
    shutil.copy(exported / "diffusion_pytorch_model.safetensors", tmp_path)
    again = load_family(base, dataclasses.replace(MEMBER.setup, start_from={"pose": str(tmp_path)}))
    jax.tree.map(np.testing.assert_array_equal, again.read_start()["pose"], side)
    again.write_side(tmp_path / "again", "pose", side)
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (written["_class_name"], written["added_in_every_block"]) == ("LisaJaxTemporalControlNet", True)
    measured = again.check_export(tmp_path / "again", side, jnp.dtype(jnp.float32), SIZE, verifies=True)
    assert measured.difference < 1e-4 * measured.largest


def test_a_network_in_circulation_that_would_add_otherwise_is_refused(base, exported, tmp_path):
    config = json.loads((exported / "config.json").read_text()) | {"_class_name": "ControlNetSDVModel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="added_in_every_block False is not supported: only True is"):
        load_family(base, dataclasses.replace(MEMBER.setup, start_from={"pose": str(tmp_path)}))


@pytest.mark.parametrize("setting", ["layers_per_block", "num_layers", "lora_rank"])
def test_settings_of_other_side_networks_are_refused(base, setting):
    with pytest.raises(ValueError, match=f"side.{setting} is 1, but beside a UNet of videos"):
        load_family(base, dataclasses.replace(MEMBER.setup, **{setting: 1}))


def test_a_network_of_another_base_is_refused(base, exported, tmp_path):
    config = json.loads((exported / "config.json").read_text()) | {"cross_attention_dim": 16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has cross_attention_dim 16, but the UNet 32: it belongs to an"):
        load_family(base, dataclasses.replace(MEMBER.setup, start_from={"pose": str(tmp_path)}))
