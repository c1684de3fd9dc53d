"""Control-LoRAs in diffusers and in web interfaces, whose reading of the file is written here by ComfyUI's rules."""

import jax
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING, convert_controlnet_checkpoint
from original_sd import original_unet
from safetensors.torch import load_file

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.families.controlnet_check import diffusers_residuals, probe_inputs
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import write_random_base
from lisa_jax.families.registry import load_family

NAME, RANK, SIZE = "edges", 3, (64, 64)
WIDTHS = (4, 8, 8, 16)
SETUP = {"condition_channels": WIDTHS, "frozen_dtype": "float32", "compute_dtype": "float32"}


class Trained:
    """A tiny base, its family with a Control-LoRA, and that with random numbers for all that trains."""

    def __init__(self, preset, root):
        self.folder = write_random_base(preset, root / "base")
        self.family = load_family(self.folder, Setup((NAME,), lora_rank=RANK, **SETUP))
        start = self.family.read_start()
        shapes = jax.eval_shape(self.family.model.init_side, start, jax.random.key(0))[NAME]
        rng = np.random.default_rng(0)
        self.side = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
        self.family.write_original(root, NAME, self.side)
        self.file = root / f"{NAME}.safetensors"

    def controlnet(self):
        unet = UNet2DConditionModel.from_pretrained(self.folder, subfolder="unet")
        return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=WIDTHS)

    def as_read(self):
        """The ControlNet that an interface makes of the file beside the base."""
        model = self.controlnet()
        state, given = original_unet(model.state_dict()), load_file(self.file)
        assert given.pop("lora_controlnet").numel() == 0
        for name, tensor in given.items():
            module, _, kind = name.rpartition(".")
            if kind in ("up", "down"):
                factors = given[f"{module}.up"].flatten(1), given[f"{module}.down"].flatten(1)
                if kind == "up":
                    state[f"{module}.weight"] = state[f"{module}.weight"] + torch.mm(*factors).reshape(
                        state[f"{module}.weight"].shape
                    )
            else:
                assert state[name].shape == tensor.shape
                state[name] = tensor
        converted = convert_controlnet_checkpoint(state, model.config)
        # What diffusers knows of UNets alone.
        added = DIFFUSERS_TO_LDM_MAPPING["unet"]["addition_embed_type"]
        model.load_state_dict(converted | {new: state[old] for new, old in added.items() if old in state})
        return model, given


@pytest.fixture(scope="module", params=[pytest.param("tiny_sd21", marks=pytest.mark.slow), "tiny_sdxl"])
def trained(request, tmp_path_factory):
    return Trained(request.param, tmp_path_factory.mktemp(request.param))


def test_an_interface_computes_what_training_did(trained, tmp_path, run):
    model, given = trained.as_read()
    model.save_pretrained(tmp_path)
    family = trained.family
    latents = family.latents.shape(*SIZE)
    inputs = probe_inputs(latents, family.conditioner.shapes, (*SIZE, 3), 1000)
    _, theirs = diffusers_residuals(tmp_path, inputs)
    whole = family.model.complete({NAME: trained.side}, family.frozen)
    given_to_side = (whole[NAME], None, inputs.x_t, inputs.t, inputs.context, inputs.condition)
    ours = run(family.model.sides[NAME].apply, *given_to_side).residuals
    largest = max(np.abs(one).max() for one in ours)
    difference = max(np.abs(one - other).max() for one, other in zip(ours, theirs, strict=True))
    print(f"residuals up to {largest:.2f} differ by {difference:.1e}")
    assert difference < 1e-4 * max(largest, 1)
    # Whole are norms and biases, and what no base has.
    low_rank = {name.rpartition(".")[0] for name in given if name.endswith((".up", ".down"))}
    for name, tensor in given.items():
        module = name.rpartition(".")[0]
        fresh = name.startswith(("zero_convs.", "middle_block_out.", "input_hint_block."))
        assert fresh or tensor.ndim == 1 or module in low_rank, name
    assert {"input_blocks.0.0", "time_embed.2", "middle_block.1.proj_in", "input_blocks.3.0.op"} <= low_rank


def test_a_file_goes_on_as_it_is(trained):
    family = load_family(trained.folder, Setup((NAME,), start_from={NAME: str(trained.file)}, **SETUP))
    side = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, side, {NAME: trained.side})
    assert family.model.hooks == trained.family.model.hooks and family.write_original is not None


def test_a_folder_holds_the_whole_controlnet(trained, tmp_path):
    trained.family.write_side(tmp_path, NAME, trained.side)
    found, expected = ControlNetModel.from_pretrained(tmp_path).state_dict(), trained.as_read()[0].state_dict()
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        np.testing.assert_allclose(found[key], tensor, atol=1e-6)
    # A ControlNet like others, which no longer needs its base's kernels.
    again = load_family(trained.folder, Setup((NAME,), start_from={NAME: str(tmp_path)}, **SETUP))
    assert "kernel" in again.read_start()[NAME]["conv_in"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_verify_finds_the_folder_as_trained(trained, tmp_path, dtype):
    trained.family.write_side(tmp_path, NAME, trained.side, np.dtype(dtype))
    measured = trained.family.check_export(tmp_path, trained.side, np.dtype(dtype), SIZE, verifies=True)
    assert measured.difference <= 1e-4 * measured.largest


def test_a_file_of_another_base_or_for_other_conditions_is_refused(trained, tmp_path):
    other = "tiny_sdxl" if trained.folder.parent.name.startswith("tiny_sd21") else "tiny_sd21"
    base = write_random_base(other, tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"edges\.safetensors is a Control-LoRA of another base: either it or"):
        load_family(base, Setup((NAME,), start_from={NAME: str(trained.file)}, **SETUP))
    with pytest.raises(CheckpointError, match="has conditioning_channels 3, but the data's condition has 1"):
        setup = Setup((NAME,), start_from={NAME: str(trained.file)}, conditioning_channels={NAME: 1}, **SETUP)
        load_family(trained.folder, setup)
    with pytest.raises(CheckpointError, match=r"is no base: a ControlNet goes to"):
        load_family(trained.file, Setup())
    assert open_checkpoint(trained.file).config()["lora_rank"] == RANK
