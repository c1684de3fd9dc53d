"""ControlNets of videos against the same networks made of diffusers' parts, float32."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_svd import TorchTemporalControlNet, channels_last, controlled, make_unet, video_inputs

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.side_network import stored_side_network
from lisa_jax.checkpoints.temporal_controlnet import TEMPORAL_CONTROLNET, TEMPORAL_SIDE_NETWORKS
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.models.controlnet import feature_shapes
from lisa_jax.models.temporal_controlnet import (
    TemporalControlNet,
    TemporalControlNetConfig,
    temporal_controlnet_config,
)
from lisa_jax.models.temporal_unet import TemporalUNet

# Of the largest value.
TOLERANCE = 1e-5
FRAMES, SIZE = 3, (4, 6)
CONDITION_CHANNELS = (4, 8)
# Whose multiplicities differ, as of networks in circulation.
THREE_LEVELS = {
    "block_out_channels": (32, 32, 64),
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal",) * 2 + ("DownBlockSpatioTemporal",),
    "up_block_types": ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 2,
    "num_attention_heads": (2, 2, 2),
}


def write_side(folder, side, class_name, unet):
    folder.mkdir()
    save_file(side.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    fields = {name: value for name, value in unet.config.items() if not name.startswith("_")}
    fields |= {"conditioning_channels": 3, "conditioning_embedding_out_channels": CONDITION_CHANNELS}
    if class_name == "LisaJaxTemporalControlNet":
        fields = {name: fields[name] for name in fields if name not in ("sample_size", "up_block_types")}
    (folder / "config.json").write_text(json.dumps(fields | {"_class_name": class_name}))


@torch.no_grad()
@pytest.mark.parametrize(
    "class_name", ["LisaJaxTemporalControlNet", pytest.param("ControlNetSDVModel", marks=pytest.mark.slow)]
)
def test_residuals_features_and_controlled_prediction(class_name, tmp_path, to_jax, run, randomise):
    in_every_block = class_name == "ControlNetSDVModel"
    unet = make_unet(randomise, **(THREE_LEVELS if in_every_block else {}))
    side = TorchTemporalControlNet(unet, CONDITION_CHANNELS).eval()
    randomise(side.parameters(), std=0.05)
    unet.save_pretrained(tmp_path / "unet")
    write_side(tmp_path / "side", side, class_name, unet)
    x_t, t, context = video_inputs(unet.config, FRAMES, SIZE)
    condition = torch.rand(2, FRAMES, 3, 2 * SIZE[0], 2 * SIZE[1])
    residuals, features = side(x_t, t, context, condition)
    expected = controlled(unet, x_t, t, context, residuals, in_every_block=in_every_block)

    unet_config, unet_params = TEMPORAL_UNET.read(open_checkpoint(tmp_path / "unet"))
    checkpoint = open_checkpoint(tmp_path / "side")
    config, params = stored_side_network(checkpoint, TEMPORAL_SIDE_NETWORKS).read(checkpoint)
    assert config.multiplicities == ((3, 3, 3, 2, 2, 1, 1) if in_every_block else (1,) * 5)

    def both(unet_params, params, x_t, t, context, condition):
        residuals, features = TemporalControlNet(config).apply({"params": params}, x_t, t, context, condition)
        network = TemporalUNet(unet_config)
        prior = network.apply({"params": unet_params}, x_t, t, context)
        return features, network.apply({"params": unet_params}, x_t, t, context, residuals), prior

    found, prediction, prior = run(
        both,
        unet_params,
        params,
        channels_last(x_t),
        to_jax(t),
        jax.tree.map(to_jax, context),
        channels_last(condition),
    )
    shapes = feature_shapes(config, *SIZE)
    assert {name: (FRAMES, *shape) for name, shape in shapes.items()} == {
        name: feature.shape[1:] for name, feature in found.items()
    }
    gaps = [
        relative(channels_last(theirs.reshape(2, FRAMES, *theirs.shape[1:])), found[name])
        for name, theirs in zip(shapes, features, strict=True)
    ]
    gaps.append(relative(channels_last(expected), prediction))
    print(f"{class_name}: of features {max(gaps[:-1]):.1e}, of the controlled prediction {gaps[-1]:.1e} of the largest")
    assert max(gaps) <= TOLERANCE
    assert relative(np.asarray(prior), prediction) > 100 * TOLERANCE


def test_how_often_residuals_count_beside_the_published_unet():
    config = TemporalControlNetConfig()
    assert config.multiplicities == (1,) * 13
    in_circulation = dataclasses.replace(config, added_in_every_block=True)
    assert in_circulation.multiplicities == (4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1)


def test_a_folder_of_ours_has_the_parts_keys_and_its_own_class(tmp_path, randomise):
    unet = make_unet(randomise)
    side = TorchTemporalControlNet(unet, CONDITION_CHANNELS)
    unet.save_pretrained(tmp_path / "unet")
    config = temporal_controlnet_config(TEMPORAL_UNET.config(open_checkpoint(tmp_path / "unet")), CONDITION_CHANNELS)
    assert {key: entry.torch_shape for key, entry in TEMPORAL_CONTROLNET.key_table(config).items()} == {
        key: tuple(tensor.shape) for key, tensor in side.state_dict().items()
    }
    write_side(tmp_path / "side", side, "LisaJaxTemporalControlNet", unet)
    read, params = TEMPORAL_CONTROLNET.read(open_checkpoint(tmp_path / "side"))
    TEMPORAL_CONTROLNET.write(tmp_path / "again", read, params)
    fields = json.loads((tmp_path / "again" / "config.json").read_text())
    assert fields["_class_name"] == "LisaJaxTemporalControlNet" and fields["added_in_every_block"] is False
    assert open_checkpoint(tmp_path / "again").tensors("").keys() == side.state_dict().keys()


def relative(expected, found):
    return float(np.abs(expected - np.asarray(found)).max() / np.abs(expected).max())
