"""UNet and ControlNet of Stable Diffusion XL against diffusers' on the same weights, float32."""

import json

import jax
import jax.numpy as jnp
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.families.side_networks import side_network_of_unet
from lisa_jax.models.controlnet import ControlNet, controlnet_config_from_unet
from lisa_jax.models.unet import UNet

TOLERANCE = 1e-5
POOLED = 10
CONFIG = {  # blocks and switches as published
    "sample_size": 8,
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 1, 2],
    "attention_head_dim": [1, 2, 4],
    "use_linear_projection": True,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 6,
    "projection_class_embeddings_input_dim": POOLED + 6 * 6,
    "layers_per_block": 1,
}
# Original height and width, top and left of the crop, target height and width.
TIME_IDS = [[600, 813, 0, 107, 1024, 1024], [2048, 1536, 171, 0, 1024, 768]]
CHANNELS = (4, 8)
QUIET = ("conv_in.", "conv2.", "conv_shortcut.", "proj_in.", "proj_out.")


@pytest.fixture(scope="module")
def networks():
    """A UNet, and a ControlNet of other weights; nothing in them is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**CONFIG).eval()
        side = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=CHANNELS).eval()
        for network in (unet, side):
            for name, parameter in network.named_parameters():
                parameter.data.add_(0.1 * torch.randn_like(parameter))
                # So small is what comes into norms that their epsilons count.
                if any(part in name for part in QUIET):
                    parameter.data.mul_(0.01)
    return unet, side


@torch.no_grad()
def test_prediction_residuals_and_features_equal_diffusers(networks, tmp_path, to_jax, run, max_difference):
    unet, side = networks
    unet.save_pretrained(tmp_path / "unet")
    side.save_pretrained(tmp_path / "side")
    unet_config, unet_params = UNET.read(open_checkpoint(tmp_path / "unet"))
    side_config, side_params = CONTROLNET.read(open_checkpoint(tmp_path / "side"))
    assert controlnet_config_from_unet(unet_config, CHANNELS) == side_config

    x_t, t, tokens = torch.randn(2, 4, 7, 10), torch.tensor([3.0, 997.0]), torch.randn(2, 5, 12)
    pooled, condition = torch.randn(2, POOLED), torch.rand(2, 3, 14, 20)
    added = {"text_embeds": pooled, "time_ids": torch.tensor(TIME_IDS)}
    features = []
    for convolution in (*side.controlnet_down_blocks, side.controlnet_mid_block):
        convolution.register_forward_pre_hook(lambda _, arguments: features.append(arguments[0]))
    down, mid = side(x_t, t, tokens, condition, added_cond_kwargs=added, return_dict=False)
    control = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    plain = unet(x_t, t, tokens, added_cond_kwargs=added).sample
    controlled = unet(x_t, t, tokens, added_cond_kwargs=added, **control).sample

    def ours(unet_params, side_params, x_t, t, context, condition):
        residuals, found = ControlNet(side_config).apply({"params": side_params}, x_t, t, context, condition)
        network = UNet(unet_config)
        trunk = network.apply({"params": unet_params}, x_t, t, context, method="encode")
        outputs = [network.apply({"params": unet_params}, trunk, one, method="decode") for one in (None, residuals)]
        return (*outputs, *residuals, *found.values())

    context = {"tokens": to_jax(tokens), "pooled": to_jax(pooled), "time_ids": jnp.asarray(TIME_IDS)}
    given = (to_jax(x_t), to_jax(t), context, to_jax(condition))
    difference = max_difference((plain, controlled, *down, mid, *features), run(ours, unet_params, side_params, *given))
    print(f"SDXL's networks: max abs difference {difference:.1e} of {float(controlled.abs().max()):.2f}")
    assert difference <= TOLERANCE
    assert float((plain - controlled).abs().max()) > 0.1, "the residuals had no effect"
    others = unet(x_t, t, tokens, added_cond_kwargs=added | {"time_ids": torch.zeros(2, 6)}).sample
    assert float((plain - others).abs().max()) > 0.01, "the time ids had no effect"


def test_what_is_written_is_what_diffusers_writes(networks, tmp_path):
    for name, component, theirs in zip(("unet", "side"), (UNET, CONTROLNET), networks, strict=True):
        theirs.save_pretrained(tmp_path / name)
        component.write(tmp_path / "ours" / name, *component.read(open_checkpoint(tmp_path / name)))
        again = type(theirs).from_pretrained(tmp_path / "ours" / name, local_files_only=True)
        assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in theirs.state_dict().items())
        ours_json, theirs_json = (
            json.loads((folder / name / "config.json").read_text()) for folder in (tmp_path / "ours", tmp_path)
        )
        assert {field: value for field, value in theirs_json.items() if not field.startswith("_")} == {
            field: value for field, value in ours_json.items() if not field.startswith("_")
        }


def test_a_new_side_network_starts_with_the_added_embedding(networks, tmp_path):
    unet, _ = networks
    unet.save_pretrained(tmp_path / "unet")
    checkpoint = open_checkpoint(tmp_path)
    start = side_network_of_unet(checkpoint, UNET.config(checkpoint, "unet"), CHANNELS).read_start()
    copied, theirs = start["add_embedding"], unet.add_embedding.state_dict()
    assert jax.tree.map(jnp.shape, copied) == {
        "linear_1": {"bias": (32,), "kernel": (46, 32)},
        "linear_2": {"bias": (32,), "kernel": (32, 32)},
    }
    assert (copied["linear_1"]["kernel"] == theirs["linear_1.weight"].numpy().T).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"addition_embed_type": "text"}, "addition_embed_type 'text' is not supported, as for Kandinsky"),
        ({"projection_class_embeddings_input_dim": 36}, "projection_class_embeddings_input_dim 36 are not supported"),
        ({"addition_time_embed_dim": None}, "addition_time_embed_dim None"),
    ],
)
def test_an_added_embedding_of_other_inputs_is_refused_by_name(change, words):
    with pytest.raises(ValueError, match=words):
        UNET.config_file.parse(CONFIG | change)


def test_a_context_of_another_kind_is_refused(networks, tmp_path):
    networks[0].save_pretrained(tmp_path)
    config, params = UNET.read(open_checkpoint(tmp_path))
    with pytest.raises(ValueError, match="context is one array, but addition_embed_type is 'text_time'"):
        jax.eval_shape(
            UNet(config).apply, {"params": params}, jnp.zeros((1, 8, 8, 4)), jnp.zeros(1), jnp.zeros((1, 5, 12))
        )
