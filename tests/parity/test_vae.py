"""The autoencoder against diffusers' `AutoencoderKL` on the same weights, float32, and its folders both ways."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL as DiffusersAutoencoder
from safetensors.numpy import load_file, save_file

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.models.vae import AutoencoderKL

TOLERANCE = 1e-5
WEIGHTS = "diffusion_pytorch_model.safetensors"


def levels(*channels, **fields):
    return {
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
    } | fields


SD = levels(8, 8, 16, 16, layers_per_block=2, norm_num_groups=4)  # Stable Diffusion's four levels
SD3 = levels(  # every switch at a value that is not the default; no quant convolutions, as in SD3
    6,
    12,
    norm_num_groups=3,
    in_channels=4,
    out_channels=2,
    latent_channels=5,
    use_quant_conv=False,
    use_post_quant_conv=False,
    mid_block_add_attention=False,
    shift_factor=0.0609,
    scaling_factor=1.5305,
    sample_size=16,
    force_upcast=False,
)
SMALL = levels(8, 16, norm_num_groups=4)
ONE_LEVEL = levels(8, norm_num_groups=4, use_post_quant_conv=False)
CASES = {"sd": (SD, (24, 40)), "sd3": (SD3, (6, 10)), "one_level": (ONE_LEVEL, (7, 5))}


def make(config, randomise):
    model = DiffusersAutoencoder(**config).eval()
    randomise([parameter for name, parameter in model.named_parameters() if "norm" in name], std=1.0)
    # Attention that is not almost uniform.
    randomise([parameter for name, parameter in model.named_parameters() if "to_" in name], std=0.5)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_moments_and_images_equal_diffusers(name, tmp_path, to_jax, run, max_difference, randomise):
    config, size = CASES[name]
    theirs = make(config, randomise)
    theirs.save_pretrained(tmp_path)
    ours_config, params = VAE.read(open_checkpoint(tmp_path))
    assert theirs.config.scaling_factor == ours_config.scaling_factor
    model = AutoencoderKL(ours_config)
    images = torch.rand(2, config.get("in_channels", 3), *size) * 2 - 1
    z = torch.randn(2, ours_config.latent_channels, *(side // ours_config.downsampling for side in size))

    moments = run(lambda p, x: model.apply({"params": p}, x, method="encode"), params, to_jax(images))
    difference = max_difference((theirs.encode(images).latent_dist.parameters,), (moments,))
    decoded = run(lambda p, x: model.apply({"params": p}, x, method="decode"), params, to_jax(z))
    decoded_difference = max_difference((theirs.decode(z).sample,), (decoded,))
    print(
        f"{name}: max abs difference moments {difference:.1e} of {float(jnp.abs(moments).max()):.2f}, "
        f"images {decoded_difference:.1e} of {float(jnp.abs(decoded).max()):.2f}"
    )
    assert max(difference, decoded_difference) <= TOLERANCE


def test_each_half_needs_its_own_weights_only(tmp_path, run, randomise):
    make(SMALL, randomise).save_pretrained(tmp_path)
    config, params = VAE.read(open_checkpoint(tmp_path))
    model = AutoencoderKL(config)
    images, z = jnp.ones((1, 4, 4, 3)), jnp.ones((1, 2, 2, 4))
    for method, argument, names in (
        ("encode", images, ("encoder", "quant_conv")),
        ("decode", z, ("decoder", "post_quant_conv")),
    ):
        part = {name: params[name] for name in names}
        whole = run(lambda p, x, m=method: model.apply({"params": p}, x, method=m), params, argument)
        np.testing.assert_array_equal(
            run(lambda p, x, m=method: model.apply({"params": p}, x, method=m), part, argument), whole
        )


def test_image_size_that_does_not_divide_is_refused(tmp_path, randomise):
    make(SMALL, randomise).save_pretrained(tmp_path)
    config, params = VAE.read(open_checkpoint(tmp_path))
    with pytest.raises(ValueError, match=r"24 x 31.*multiples of 2"):
        AutoencoderKL(config).apply({"params": params}, jnp.zeros((1, 24, 31, 3)), method="encode")


def rename_to_old(tensors, as_convolution):
    """The attention's names and, in some files, shapes of old checkpoints."""
    old = {}
    for key, tensor in tensors.items():
        for new, name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            if f".{new}." in key:
                key = key.replace(f".{new}.", f".{name}.")
                tensor = tensor[..., None, None] if as_convolution and key.endswith("weight") else tensor
        old[key] = np.ascontiguousarray(tensor)
    return old


@torch.no_grad()
@pytest.mark.parametrize("as_convolution", [False, True])
def test_old_attention_names_are_read(tmp_path, randomise, as_convolution):
    theirs = make(SD, randomise)
    theirs.save_pretrained(tmp_path)
    _, params = VAE.read(open_checkpoint(tmp_path))
    old = rename_to_old(load_file(tmp_path / WEIGHTS), as_convolution)
    assert sum(".proj_attn." in key for key in old) == 4
    save_file(old, tmp_path / WEIGHTS, metadata={"format": "pt"})
    jax.tree.map(np.testing.assert_array_equal, VAE.read(open_checkpoint(tmp_path))[1], params)
    if not as_convolution:  # what we read there is what diffusers reads there
        again = DiffusersAutoencoder.from_pretrained(tmp_path)
        for (key, expected), got in zip(theirs.state_dict().items(), again.state_dict().values(), strict=True):
            assert torch.equal(expected, got), key

    name = "decoder.mid_block.attentions.0.query.bias"
    both = old | {name.replace("query", "to_q"): old[name]}
    save_file(both, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"one tensor under two names.*query\.bias"):
        VAE.read(open_checkpoint(tmp_path))


@torch.no_grad()
def test_written_folder_loads_in_diffusers_with_the_same_output(tmp_path, randomise):
    theirs = make(SD3, randomise)
    theirs.save_pretrained(tmp_path / "theirs")
    config, params = VAE.read(open_checkpoint(tmp_path / "theirs"))
    VAE.write(tmp_path / "ours", config, params)
    again = DiffusersAutoencoder.from_pretrained(tmp_path / "ours", local_files_only=True).eval()
    images = torch.randn(1, 4, 8, 8)
    assert torch.equal(theirs(images).sample, again(images).sample)
    assert VAE.config_file.fields(config).keys() == set(json.loads((tmp_path / "theirs" / "config.json").read_text()))
    assert (tmp_path / "ours" / WEIGHTS).read_bytes() == (tmp_path / "theirs" / WEIGHTS).read_bytes()


def test_shards_and_fp16_variants_read_as_the_whole_file(tmp_path, randomise):
    model = make(SD, randomise).half()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "both", variant="fp16", max_shard_size="20KB")
    assert len(list((tmp_path / "both").glob("*fp16-0*.safetensors"))) > 2
    whole, both = (VAE.read(open_checkpoint(tmp_path / folder), "", jnp.float32)[1] for folder in ("whole", "both"))
    jax.tree.map(np.testing.assert_array_equal, both, whole)


def test_bfloat16_runs_near_float32(tmp_path, run, to_jax, randomise):
    make(SMALL, randomise).save_pretrained(tmp_path)
    config, params = VAE.read(open_checkpoint(tmp_path))
    images = to_jax(torch.rand(1, 3, 8, 8) * 2 - 1)

    def reconstruct(dtype):
        return run(lambda p, x: AutoencoderKL(config, dtype).apply({"params": p}, x), params, images)

    exact, rough = reconstruct(jnp.float32), reconstruct(jnp.bfloat16)
    assert rough.dtype == jnp.bfloat16
    relative = float(jnp.linalg.norm(rough.astype(jnp.float32) - exact) / jnp.linalg.norm(exact))
    print(f"bfloat16: relative difference {relative:.1e}")
    assert relative < 0.05


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("down_block_types", ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]),
        ("up_block_types", ["UpDecoderBlock2D"]),
        ("act_fn", "gelu"),
        ("layers_per_block", [1, 2]),
        ("norm_num_groups", 5),
        ("block_out_channels", 8),
        ("scaling_factor", [0.1, 0.2]),
        ("an_unknown_field", 1),
        ("_class_name", "AutoencoderTiny"),
    ],
)
def test_unsupported_config_is_refused_by_name(field, value):
    with pytest.raises(CheckpointError, match=field) as refusal:
        VAE.config_file.parse(levels(8, 8, norm_num_groups=4) | {field: value})
    assert str(refusal.value).count("\n") == 0


def test_published_config_with_few_fields_is_read():
    """Stable Diffusion 1.5's `vae/config.json` as it was published."""
    config = VAE.config_file.parse(
        {
            "_class_name": "AutoencoderKL",
            "_diffusers_version": "0.6.0",
            "act_fn": "silu",
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "in_channels": 3,
            "latent_channels": 4,
            "layers_per_block": 2,
            "norm_num_groups": 32,
            "out_channels": 3,
            "sample_size": 512,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
        }
    )
    assert (config.scaling_factor, config.shift_factor, config.downsampling) == (0.18215, None, 8)
