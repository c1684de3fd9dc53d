"""Side networks of Stable Diffusion 3 against diffusers' `SD3ControlNetModel` on the same weights, float32."""

import inspect
import json
from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import SD3ControlNetModel, SD3Transformer2DModel
from sd3_networks import SD3, SD35_MEDIUM, inputs, make, ours_of, tensors

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.families.side_networks import start_params
from lisa_jax.models.joint_blocks import JointBlock
from lisa_jax.models.sd3_controlnet import (
    SD3ControlNet,
    feature_names,
    residual_index,
    sd3_controlnet_config_from_transformer,
)
from lisa_jax.models.sd3_transformer import SD3Transformer

TOLERANCE = 1e-4

COPIED = SD35_MEDIUM | {"num_layers": 2, "force_zeros_for_pooled_projection": False}
MASK = SD3 | {"num_layers": 2, "extra_conditioning_channels": 1}
# As the side networks of SD3.5-large: fields of what it lacks are without effect.
ALONE = {"joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None, "pos_embed_max_size": None}
SINGLE = SD35_MEDIUM | ALONE | {"num_layers": 2, "caption_projection_dim": 99}
WITHOUT_POSITIONS = SD3 | {"num_layers": 1, "pos_embed_type": None, "patch_size": 1}
SINGLE_WITH_POSITIONS = SD3 | {"num_layers": 1, "joint_attention_dim": None}
EMBEDDED_WITH_TEXT = SD3 | {"num_layers": 1, "use_pos_embed": False}
CASES = {
    "copied_odd_square": (COPIED, (6, 6)),
    "copied_wide": (COPIED, (4, 14)),
    "mask_square": (MASK, (8, 8)),
    "mask_tall": (MASK, (14, 2)),
    "single_square": (SINGLE, (6, 6)),
    "single_wide": (SINGLE, (4, 10)),
    "without_positions": (WITHOUT_POSITIONS, (3, 9)),
    "single_with_positions": (SINGLE_WITH_POSITIONS, (10, 4)),
    "embedded_with_text": (EMBEDDED_WITH_TEXT, (4, 6)),
}


def make_side(config, randomise):
    model = SD3ControlNetModel(**config).eval()
    randomise([parameter for name, parameter in model.named_parameters() if "attn" in name and "norm" in name], std=1.0)
    randomise([buffer for name, buffer in model.named_buffers()], std=1.0)
    randomise_zero_layers(model, randomise)
    return model


def randomise_zero_layers(model, randomise):
    randomise(model.controlnet_blocks.parameters())
    randomise(model.pos_embed_input.parameters())


def side_inputs(config, size):
    """x_t, t, text tokens, pooled text, condition."""
    condition = torch.randn(2, config["in_channels"] + config.get("extra_conditioning_channels", 0), *size)
    return *inputs(SD3 | config | {"joint_attention_dim": 12}, size), condition


def residuals_of(model, sample, embedded=None):
    """diffusers' residuals."""
    x_t, t, tokens, pooled, condition = sample
    tokens = tokens if model.context_embedder is not None else None
    given = {"encoder_hidden_states": tokens, "pooled_projections": pooled, "timestep": t}
    return model(x_t if embedded is None else embedded, condition, **given, return_dict=False)[0]


def tokens_of(grids):
    return [grid.reshape(grid.shape[0], -1, grid.shape[-1]) for grid in grids]


def hook_features(model):
    """Collect what goes into every zero layer of the next call."""
    features = []
    for layer in model.controlnet_blocks:
        layer.register_forward_pre_hook(lambda _, arguments: features.append(arguments[0].detach()))
    return features


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_residuals_and_features_equal_diffusers(name, tmp_path, to_jax, run, max_difference, randomise):
    config, size = CASES[name]
    theirs = make_side(config, randomise)
    theirs.save_pretrained(tmp_path)
    ours_config, params = SD3_CONTROLNET.read(open_checkpoint(tmp_path))
    sample = side_inputs(config, size)
    grid = tuple(length // ours_config.patch_size for length in size)
    embedded = None if ours_config.use_pos_embed else torch.randn(2, grid[0] * grid[1], ours_config.width)
    expected_features = hook_features(theirs)
    expected = residuals_of(theirs, sample, embedded)

    embedded = None if embedded is None else to_jax(embedded).reshape(2, *grid, -1)
    given = (*ours_of(sample[:-1], to_jax), to_jax(sample[-1]))
    network = SD3ControlNet(ours_config)
    residuals, features = run(lambda p, *a: network.apply({"params": p}, *a), params, embedded, *given)
    assert tuple(features) == feature_names(ours_config)
    assert {one.shape for one in (*residuals, *features.values())} == {(2, *grid, ours_config.width)}
    differences = (
        max_difference(expected, tokens_of(residuals)),
        max_difference(expected_features, tokens_of(features.values())),
    )
    print(f"{name}: max abs difference of residuals {differences[0]:.1e}, of features {differences[1]:.1e}")
    assert max(differences) <= TOLERANCE


@torch.no_grad()
def test_a_copy_begins_as_the_main_network_and_then_controls_it_as_in_diffusers(
    tmp_path, to_jax, run, max_difference, randomise
):
    main = make(SD35_MEDIUM, randomise)
    main.save_pretrained(tmp_path / "main")
    main_config, main_params = SD3_TRANSFORMER.read(open_checkpoint(tmp_path / "main"))
    theirs = SD3ControlNetModel.from_transformer(
        SD3Transformer2DModel.from_pretrained(tmp_path / "main"), num_layers=2, num_extra_conditioning_channels=0
    ).eval()
    config = sd3_controlnet_config_from_transformer(main_config, 2, force_zeros_for_pooled_projection=True)
    network, transformer = SD3ControlNet(config), SD3Transformer(main_config)
    sample = side_inputs(COPIED, (6, 10))
    *given, condition = *ours_of(sample[:-1], to_jax), to_jax(sample[-1])
    fresh = run(network.init, jax.random.key(0), None, *given, condition)["params"]
    params = start_params(fresh, main_params)
    SD3_CONTROLNET.write(tmp_path / "ours", config, params)
    theirs.save_pretrained(tmp_path / "theirs")
    ours_json, theirs_json = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))
    assert ours_json == {name: value for name, value in theirs_json.items() if name != "_name_or_path"}
    ours_tensors, theirs_tensors = tensors(tmp_path / "ours"), tensors(tmp_path / "theirs")
    assert ours_tensors.keys() == theirs_tensors.keys()
    assert all(torch.equal(tensor, theirs_tensors[name]) for name, tensor in ours_tensors.items())

    @jax.jit
    def blocks(main_params, params, *given):
        """Residuals and features of the side network, and what comes out of the main network's blocks."""
        captured = {"capture_intermediates": lambda module, _: isinstance(module, JointBlock)}
        _, state = transformer.apply({"params": main_params}, *given, mutable="intermediates", **captured)
        outputs = {name: found["__call__"][0][0] for name, found in state["intermediates"].items()}
        return *network.apply({"params": params}, None, *given, condition), outputs

    residuals, features, outputs = blocks(main_params, params, *given)
    assert not any(map(np.any, residuals))
    for name, feature in features.items():
        of_main = outputs[f"transformer_{name.replace('block', 'blocks')}"]
        np.testing.assert_array_equal(feature.reshape(of_main.shape), of_main)

    randomise_zero_layers(theirs, randomise)
    theirs.save_pretrained(tmp_path / "trained")
    _, params = SD3_CONTROLNET.read(open_checkpoint(tmp_path / "trained"))
    x_t, t, tokens, pooled, _ = sample
    expected = main(x_t, tokens, pooled, t, block_controlnet_hidden_states=residuals_of(theirs, sample)).sample

    def controlled(main_params, params, *given):
        trunk = transformer.apply({"params": main_params}, *given, method="encode")
        del params["pos_embed"]["pos_embed"]  # the transformer's positions stand in for it
        residuals, _ = network.apply({"params": params}, trunk.embedded, *given, condition, trunk.positions)
        residuals = tuple(residuals[i] for i in residual_index(main_config.num_layers, config.num_layers))
        return transformer.apply({"params": main_params}, trunk, residuals, method="decode")

    difference = max_difference((expected,), (run(controlled, main_params, params, *given),))
    print(f"controlled: max abs difference {difference:.1e} of {float(expected.abs().max()):.2f}")
    assert difference <= TOLERANCE


@pytest.mark.parametrize("config", [COPIED, MASK, SINGLE], ids=["copied", "mask", "single"])
def test_read_then_write_keeps_every_byte(config, tmp_path, randomise):
    make_side(config, randomise).to(torch.float16).save_pretrained(tmp_path / "theirs")
    SD3_CONTROLNET.write(tmp_path / "ours", *SD3_CONTROLNET.read(open_checkpoint(tmp_path / "theirs")))
    before, after = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert before.keys() == after.keys()
    assert all(after[key].dtype == torch.float16 and torch.equal(tensor, after[key]) for key, tensor in before.items())
    ours_json, theirs_json = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))
    assert ours_json == theirs_json
    SD3ControlNetModel.from_pretrained(tmp_path / "ours", local_files_only=True)


class Recorder(SimpleNamespace):
    """Stands in for a block: notes what comes in and passes it on."""

    def __call__(self, hidden_states, encoder_hidden_states, **_):
        self.seen.append(float(hidden_states))
        return encoder_hidden_states, hidden_states


def spread_by_diffusers(num_layers, num_residuals):
    """Which residual diffusers' own forward pass adds after each block but the last."""
    seen = []
    transformer = SimpleNamespace(
        pos_embed=torch.zeros_like,
        time_text_embed=lambda *_: None,
        context_embedder=lambda _: None,
        transformer_blocks=[Recorder(seen=seen, context_pre_only=i + 1 == num_layers) for i in range(num_layers)],
        norm_out=lambda hidden_states, _: hidden_states,
        proj_out=lambda hidden_states: hidden_states,
        config=SimpleNamespace(patch_size=1),
        out_channels=1,
        gradient_checkpointing=False,
    )
    forward = inspect.unwrap(SD3Transformer2DModel.forward)
    residuals = [torch.tensor(float(j)) for j in range(num_residuals)]
    forward(transformer, torch.zeros(1, 1, 1, 1), block_controlnet_hidden_states=residuals)
    return tuple(int(after - before) for before, after in pairwise(seen))


def test_fewer_residuals_than_blocks_are_spread_as_in_diffusers():
    for num_layers in range(2, 41):
        for num_residuals in range(1, num_layers):
            expected = spread_by_diffusers(num_layers, num_residuals)
            assert residual_index(num_layers, num_residuals) == expected, (num_layers, num_residuals)
            assert (num_residuals - 1 in expected) == (2 * num_residuals <= num_layers)
    # Here whole numbers would give another answer.
    assert residual_index(38, 14) != tuple(int(i // (38 / 14)) for i in range(37))
    for num_residuals in (0, 24):
        with pytest.raises(ValueError, match=f"{num_residuals} residuals do not fit a transformer of 24 layers"):
            residual_index(24, num_residuals)


def test_a_condition_or_a_beginning_that_does_not_fit_is_named(to_jax):
    network = SD3ControlNet(SD3_CONTROLNET.config_file.parse(MASK))
    *given, condition = *ours_of(side_inputs(MASK, (4, 6))[:-1], to_jax), jnp.zeros((2, 4, 6, 3))
    with pytest.raises(ValueError, match=r"condition of shape \(2, 4, 6, 3\) .* must be \(2, 4, 6, 4\)"):
        jax.eval_shape(network.init, jax.random.key(0), None, *given, condition)
    network = SD3ControlNet(SD3_CONTROLNET.config_file.parse(SINGLE))
    with pytest.raises(ValueError, match="embedded is None"):
        jax.eval_shape(network.init, jax.random.key(0), None, *given, condition)
