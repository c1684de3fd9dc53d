"""Transformer of Stable Diffusion 3 against diffusers' `SD3Transformer2DModel` on the same weights, float32."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import SD3Transformer2DModel
from sd3_networks import SD3, SD35_MEDIUM, inputs, make, ours_of, tensors

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.models.sd3_embedders import patch_embedding
from lisa_jax.models.sd3_transformer import SD3Transformer

TOLERANCE = 1e-4

SD35_LARGE = SD3 | {"qk_norm": "rms_norm", "num_layers": 2, "num_attention_heads": 3, "caption_projection_dim": 24}
UNUSUAL = SD3 | {  # the last block has a second attention too
    "patch_size": 3,
    "out_channels": 5,
    "dual_attention_layers": [2],
    "sample_size": 9,
    "pos_embed_max_size": 4,
}
ONE_LAYER = SD3 | {"num_layers": 1, "patch_size": 1, "out_channels": None}
# Rows and columns of patches: odd and even, of a table with an odd or even number.
CASES = {
    "sd3_odd_square": (SD3, (10, 10)),
    "sd35_medium_wide": (SD35_MEDIUM, (4, 14)),
    "sd35_large_tall": (SD35_LARGE, (12, 6)),
    "unusual": (UNUSUAL, (9, 12)),
    "one_layer": (ONE_LAYER, (5, 2)),
}


def theirs_of(model, sample, residuals=None):
    """diffusers' prediction; residuals are grids (n, h, w, d), one for each block but the last."""
    x_t, t, tokens, pooled = sample
    if residuals is not None:
        residuals = [torch.from_numpy(np.array(one)).flatten(1, 2) for one in residuals]
        residuals.append(torch.full((1,), torch.nan))  # as many as blocks, or diffusers spreads them over all
    return model(x_t, tokens, pooled, t, block_controlnet_hidden_states=residuals).sample


def hook_image_tokens(model):
    """Collect the image tokens after every block of the next calls."""
    tokens = []
    for block in model.transformer_blocks:
        block.register_forward_hook(lambda _, arguments, outputs: tokens.append(outputs[1].detach()))
    return tokens


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_prediction_equals_diffusers_with_and_without_residuals(name, tmp_path, to_jax, run, max_difference, randomise):
    config, size = CASES[name]
    theirs = make(config, randomise)
    theirs.save_pretrained(tmp_path)
    ours_config, params = SD3_TRANSFORMER.read(open_checkpoint(tmp_path))
    ours, sample = SD3Transformer(ours_config), inputs(config, size)
    grid = tuple(length // ours_config.patch_size for length in size)
    residuals = jax.random.normal(jax.random.key(0), (ours_config.num_layers - 1, 2, *grid, ours_config.width))

    def both(params, x_t, t, context, residuals):
        trunk = ours.apply({"params": params}, x_t, t, context, method="encode")
        with_residuals = ours.apply({"params": params}, trunk, tuple(residuals), method="decode")
        return trunk, ours.apply({"params": params}, trunk, method="decode"), with_residuals

    trunk, plain, controlled = run(both, params, *ours_of(sample, to_jax), residuals)
    after_blocks = hook_image_tokens(theirs)
    expected = theirs_of(theirs, sample), theirs_of(theirs, sample, residuals if len(residuals) else None)
    difference = max_difference(expected, (plain, controlled))
    embedded = max_difference((theirs.pos_embed(sample[0]),), (trunk.embedded.reshape(2, -1, ours_config.width),))
    hidden = max_difference(after_blocks[:1], (trunk.hidden.reshape(2, -1, ours_config.width),))
    print(
        f"{name}: max abs difference {difference:.1e} of {float(expected[0].abs().max()):.2f}, {embedded:.1e} "
        f"embedded, {hidden:.1e} after block 0"
    )
    assert max(difference, embedded, hidden) <= TOLERANCE
    assert trunk.embedded.shape == trunk.hidden.shape == trunk.positions.shape == (2, *grid, ours_config.width)
    assert (max_difference((expected[0],), (controlled,)) > 0.1) == (len(residuals) > 0)


@torch.no_grad()
def test_written_folder_loads_in_diffusers_with_the_same_output(tmp_path, randomise):
    theirs = make(SD35_MEDIUM, randomise)
    theirs.save_pretrained(tmp_path / "theirs")
    SD3_TRANSFORMER.write(tmp_path / "ours", *SD3_TRANSFORMER.read(open_checkpoint(tmp_path / "theirs")))
    again = SD3Transformer2DModel.from_pretrained(tmp_path / "ours", local_files_only=True).eval()
    sample = inputs(SD35_MEDIUM, (8, 6))
    assert torch.equal(theirs_of(theirs, sample), theirs_of(again, sample))
    ours_json, theirs_json = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))
    assert ours_json == theirs_json


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_read_then_write_keeps_every_byte(dtype, tmp_path, randomise):
    make(SD35_MEDIUM, randomise).to(dtype).save_pretrained(tmp_path / "theirs")
    SD3_TRANSFORMER.write(tmp_path / "ours", *SD3_TRANSFORMER.read(open_checkpoint(tmp_path / "theirs")))
    before, after = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert after[key].dtype == dtype and torch.equal(tensor, after[key]), key


def test_shards_read_as_the_whole_file(tmp_path, randomise):
    model = make(SD35_MEDIUM, randomise)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = (SD3_TRANSFORMER.read(open_checkpoint(tmp_path / name))[1] for name in ("whole", "shards"))
    jax.tree.map(np.testing.assert_array_equal, whole, shards)


def test_a_fresh_table_of_positions_is_diffusers_and_no_gradient_reaches_it(to_jax, max_difference):
    fields = SD3 | {"num_layers": 1, "sample_size": 11}
    model = patch_embedding(SD3_TRANSFORMER.config_file.parse(fields), jnp.float32)
    x_t = to_jax(inputs(SD3, (4, 6))[0])
    params = model.init(jax.random.key(0), x_t)["params"]
    theirs = SD3Transformer2DModel(**fields).pos_embed.pos_embed
    assert max_difference((theirs,), (params["pos_embed"],)) <= 1e-5
    gradient = jax.grad(lambda params: jnp.sum(model.apply({"params": params}, x_t)[0] ** 2))(params)
    assert not np.any(gradient["pos_embed"]) and np.any(gradient["proj"]["kernel"])


def test_sharing_the_trunk_changes_nothing(tmp_path, to_jax, run, randomise):
    make(SD35_LARGE, randomise).save_pretrained(tmp_path)
    config, params = SD3_TRANSFORMER.read(open_checkpoint(tmp_path))
    model, sample = SD3Transformer(config), ours_of(inputs(SD35_LARGE, (8, 6)), to_jax)
    trunk = run(lambda p, *a: model.apply({"params": p}, *a, method="encode"), params, *sample)
    for control in (None, (0.1 * jnp.ones_like(trunk.hidden),)):
        shared = run(lambda p, trunk, c=control: model.apply({"params": p}, trunk, c, method="decode"), params, trunk)
        full = run(lambda p, *a, c=control: model.apply({"params": p}, *a, c), params, *sample)
        # Two programs, which XLA need not fuse alike.
        np.testing.assert_allclose(shared, full, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="2 residuals given, but this transformer takes 1"):
        model.apply({"params": params}, trunk, (trunk.hidden,) * 2, method="decode")


def test_bfloat16_runs_near_float32(tmp_path, to_jax, run, randomise):
    make(SD35_MEDIUM, randomise).save_pretrained(tmp_path)
    config, params = SD3_TRANSFORMER.read(open_checkpoint(tmp_path))
    sample = ours_of(inputs(SD35_MEDIUM, (8, 8)), to_jax)
    exact = run(lambda p, *a: SD3Transformer(config).apply({"params": p}, *a), params, *sample)
    rough = run(lambda p, *a: SD3Transformer(config, jnp.bfloat16).apply({"params": p}, *a), params, *sample)
    assert rough.dtype == jnp.bfloat16
    relative = jnp.linalg.norm(rough.astype(jnp.float32) - exact) / jnp.linalg.norm(exact)
    print(f"bfloat16: relative difference {float(relative):.1e}")
    assert relative < 0.03


def test_remat_recomputes_every_block_of_the_same_parameters(to_jax):
    config = SD3_TRANSFORMER.config_file.parse(SD35_MEDIUM)
    sample = ours_of(inputs(SD35_MEDIUM, (4, 4)), to_jax)

    def recomputed_blocks(remat):
        model = SD3Transformer(config, remat=remat)
        params = jax.eval_shape(model.init, jax.random.key(0), *sample)
        return str(jax.make_jaxpr(model.apply)(params, *sample)).count("prevent_cse="), params

    (none, params), (count, params_of_remat) = recomputed_blocks("none"), recomputed_blocks("full")
    assert params == params_of_remat
    assert (none, count) == (0, 4)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((5, 8), "latents of 5 x 8 do not divide into patches of 2 x 2"),
        ((4, 16), r"2 x 8 patches are too large: the table of positions, pos_embed_max_size, has 7 x 7"),
    ],
)
def test_a_size_that_does_not_fit_is_named(size, message, to_jax):
    model, sample = SD3Transformer(SD3_TRANSFORMER.config_file.parse(SD3)), ours_of(inputs(SD3, size), to_jax)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), *sample)


def test_text_of_other_encoders_is_named(to_jax):
    model, (x_t, t, context) = (
        SD3Transformer(SD3_TRANSFORMER.config_file.parse(SD3)),
        ours_of(inputs(SD3, (4, 4)), to_jax),
    )
    for name, field in (("tokens", "joint_attention_dim is 12"), ("pooled", "pooled_projection_dim is 10")):
        with pytest.raises(ValueError, match=field):
            jax.eval_shape(model.init, jax.random.key(0), x_t, t, context | {name: context[name][..., 1:]})
