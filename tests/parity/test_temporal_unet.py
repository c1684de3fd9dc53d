"""The UNet of videos against diffusers' `UNetSpatioTemporalConditionModel` on the same weights, float32."""

import json

import jax
import numpy as np
import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from tiny_svd import beside_first_frame, channels_last, make_unet, video_inputs

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.models.temporal_unet import TemporalUNet

# Of the largest value.
TOLERANCE = 1e-5
# As the published ones are built, in small: four levels, two layers, heads of 32.
AS_PUBLISHED = {
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",),
    "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3,
    "num_attention_heads": (1, 1, 2, 2),
    "transformer_layers_per_block": [1, 2, 1, 1],
    "layers_per_block": 2,
}
CASES = {
    "one frame": ({}, 1, (4, 6)),
    "fourteen frames, odd sides": ({"in_channels": 5, "out_channels": 2}, 14, (5, 7)),
    "as published": (AS_PUBLISHED, 14, (8, 8)),
}


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "as published" else name for name in CASES]
)
def test_prediction_equals_diffusers(name, tmp_path, to_jax, run, randomise):
    fields, frames, size = CASES[name]
    theirs = make_unet(randomise, **fields)
    theirs.save_pretrained(tmp_path)
    x_t, t, context = video_inputs(theirs.config, frames, size)
    expected = theirs(beside_first_frame(x_t, context), t, context["image_embeds"], context["time_ids"]).sample

    config, params = TEMPORAL_UNET.read(open_checkpoint(tmp_path))
    ours = run(
        lambda p, *inputs: TemporalUNet(config).apply({"params": p}, *inputs),
        params,
        channels_last(x_t),
        to_jax(t),
        jax.tree.map(to_jax, context),
    )
    difference, largest = float(np.abs(channels_last(expected) - np.asarray(ours)).max()), float(expected.abs().max())
    print(f"{name}: max abs difference {difference:.1e} of values up to {largest:.2f}")
    assert ours.shape == (2, frames, *size, theirs.config.out_channels)
    assert difference <= TOLERANCE * largest


def test_folder_goes_back_to_diffusers(tmp_path, randomise):
    theirs = make_unet(randomise)
    theirs.save_pretrained(tmp_path / "theirs")
    config, params = TEMPORAL_UNET.read(open_checkpoint(tmp_path / "theirs"))
    TEMPORAL_UNET.write(tmp_path / "ours", config, params)
    again = UNetSpatioTemporalConditionModel.from_pretrained(tmp_path / "ours")
    for (name, one), (other_name, other) in zip(theirs.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other_name and torch.equal(one, other)
    assert json.loads(again.to_json_string()) | {"_name_or_path": None} == json.loads(theirs.to_json_string()) | {
        "_name_or_path": None
    }
