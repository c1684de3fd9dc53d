"""Our CLIP text encoders against transformers' CLIPTextModel and CLIPTextModelWithProjection: outputs, files in both
directions, initialisation."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import CLIPTextConfig as TransformersConfig
from transformers import CLIPTextModel as TransformersModel
from transformers import CLIPTextModelWithProjection as TransformersProjected

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

VOCAB, LENGTH, BOS, EOS = 100, 12, 98, 99
STYLES = {
    # SD1.5 and SD2.1 publish eos_token_id 2, which stands for pooling at the highest id.
    "sd15": {"hidden_act": "quick_gelu", "num_attention_heads": 4, "eos_token_id": 2, "bos_token_id": 0},
    "sd21": {"hidden_act": "gelu", "num_attention_heads": 2, "eos_token_id": 2, "bos_token_id": 0},
    "new": {"hidden_act": "gelu", "num_attention_heads": 2, "eos_token_id": EOS, "bos_token_id": BOS},
}


def _transformers_model(style: str, kind: type = TransformersModel, projection_dim: int = 32):
    config = TransformersConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        max_position_embeddings=LENGTH,
        projection_dim=projection_dim,
        attention_dropout=0.1,  # of training alone
        **STYLES[style],
    )
    model = kind(config).eval()
    with torch.no_grad():  # transformers' initialisation is too small to tell one activation from another
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def _ids(pad: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    ids = np.full((4, LENGTH), pad, np.int32)
    for row, length in zip(ids, (2, 5, 9, LENGTH), strict=True):
        row[:length] = [BOS, *rng.integers(1, BOS, length - 2), EOS]
    return ids


@pytest.mark.parametrize("pad", [EOS, 0])
@pytest.mark.parametrize("style", STYLES)
def test_outputs_equal_transformers(tmp_path, style, pad):
    model = _transformers_model(style)
    model.save_pretrained(tmp_path)
    config, params = CLIP_TEXT.read(open_checkpoint(tmp_path))
    ids = _ids(pad)
    ours = jax.jit(CLIPTextModel(config).apply)({"params": params}, ids)
    with torch.no_grad():
        theirs = model(torch.from_numpy(ids).long(), output_hidden_states=True)
    for name, got, expected in (
        ("last_hidden_state", ours.last_hidden_state, theirs.last_hidden_state),
        ("penultimate", ours.penultimate, theirs.hidden_states[-2]),
        ("pooled", ours.pooled, theirs.pooler_output),
    ):
        difference = np.abs(np.asarray(got) - expected.numpy()).max()
        print(f"{style} pad {pad} {name}: max abs diff {difference:.2e}")
        assert difference < 2e-5, name


@torch.no_grad()
@pytest.mark.parametrize("style", STYLES)
def test_projected_outputs_equal_transformers(tmp_path, style, run, max_difference):
    model = _transformers_model(style, TransformersProjected, projection_dim=20)
    model.save_pretrained(tmp_path / "theirs")
    config, params = CLIP_TEXT_WITH_PROJECTION.read(open_checkpoint(tmp_path / "theirs"))
    ours = run(CLIPTextModelWithProjection(config).apply, {"params": params}, _ids(0))
    theirs = model(torch.from_numpy(_ids(0)).long(), output_hidden_states=True)
    difference = max_difference((theirs.last_hidden_state, theirs.hidden_states[-2], theirs.text_embeds), ours)
    print(f"{style} with projection: max abs diff {difference:.2e}")
    assert difference < 2e-5

    CLIP_TEXT_WITH_PROJECTION.write(tmp_path / "ours", config, params)
    loaded, report = TransformersProjected.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for (name, expected), got in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(expected, got), name


def test_an_encoder_without_its_projection_is_refused(tmp_path):
    _transformers_model("sd15", TransformersProjected).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing tensor.*text_projection\.weight"):
        CLIP_TEXT_WITH_PROJECTION.check(open_checkpoint(tmp_path))


def test_bfloat16_computation_stays_close(tmp_path):
    _transformers_model("sd21").save_pretrained(tmp_path)
    config, params = CLIP_TEXT.read(open_checkpoint(tmp_path))
    exact, rough = (
        jax.jit(CLIPTextModel(config, dtype).apply)({"params": params}, _ids(0)).last_hidden_state
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert rough.dtype == jnp.bfloat16
    assert jnp.abs(rough.astype(jnp.float32) - exact).mean() < 0.02 * jnp.abs(exact).mean()


@pytest.mark.parametrize("prefix", ["", "text_model."])
@pytest.mark.parametrize("position_ids", [False, True])
def test_every_published_key_layout_is_read(tmp_path, prefix, position_ids):
    model = _transformers_model("sd15")
    model.config.save_pretrained(tmp_path)
    tensors = {key.removeprefix("text_model."): value.numpy() for key, value in model.state_dict().items()}
    if position_ids:
        tensors["embeddings.position_ids"] = np.arange(LENGTH)[None]
    save_file({prefix + key: value for key, value in tensors.items()}, tmp_path / "model.safetensors")
    _, params = CLIP_TEXT.read(open_checkpoint(tmp_path))
    kernel = params["encoder"]["layers_1"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["encoder.layers.1.mlp.fc1.weight"].T)
    assert len(jax.tree.leaves(params)) == len(tensors) - position_ids


@pytest.mark.parametrize("style", ["sd15", "sd21"])
def test_written_folder_loads_in_transformers(tmp_path, style):
    model = _transformers_model(style)
    model.save_pretrained(tmp_path / "theirs")
    config, params = CLIP_TEXT.read(open_checkpoint(tmp_path / "theirs"))
    CLIP_TEXT.write(tmp_path / "ours", config, params)
    loaded, report = TransformersModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for (name, expected), got in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(expected, got), name
    assert loaded.config.hidden_act == model.config.hidden_act
    assert loaded.config.eos_token_id == model.config.eos_token_id


def test_write_read_write_is_byte_identical(tmp_path):
    config = CLIPTextConfig(VOCAB, 32, 64, 2, 4, LENGTH)
    params = jax.jit(CLIPTextModel(config).init)(jax.random.key(0), _ids(0))["params"]
    CLIP_TEXT.write(tmp_path / "first", config, params)
    config_again, params_again = CLIP_TEXT.read(open_checkpoint(tmp_path / "first"))
    assert config_again == config
    CLIP_TEXT.write(tmp_path / "second", config_again, params_again)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_half_precision_file(tmp_path):
    config = CLIPTextConfig(VOCAB, 32, 64, 1, 4, LENGTH)
    params = jax.jit(CLIPTextModel(config).init)(jax.random.key(0), _ids(0))["params"]
    CLIP_TEXT.write(tmp_path, config, params, dtype=jnp.float16)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {np.dtype("float16")}
    assert TransformersModel.from_pretrained(tmp_path).dtype == torch.float16
    assert (
        CLIP_TEXT.read(open_checkpoint(tmp_path), "", jnp.float32)[1]["final_layer_norm"]["scale"].dtype == np.float32
    )


def test_initialisation_is_transformers():
    sizes = {"vocab_size": 500, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 77}
    theirs = TransformersModel(TransformersConfig(**sizes)).state_dict()
    params = jax.jit(CLIPTextModel(CLIPTextConfig(**sizes)).init)(jax.random.key(0), _ids(0))["params"]
    layer = params["encoder"]["layers_1"]
    for name, ours in {
        "embeddings.token_embedding": params["embeddings"]["token_embedding"]["embedding"],
        "embeddings.position_embedding": params["embeddings"]["position_embedding"]["embedding"],
        **{f"encoder.layers.1.self_attn.{n}": layer["self_attn"][n]["kernel"] for n in ("q_proj", "out_proj")},
        **{f"encoder.layers.1.mlp.{n}": layer["mlp"][n]["kernel"] for n in ("fc1", "fc2")},
    }.items():
        expected = theirs.get(f"{name}.weight", theirs.get(f"text_model.{name}.weight"))
        assert float(ours.std()) == pytest.approx(float(expected.std()), rel=0.05), name
    assert not layer["mlp"]["fc1"]["bias"].any() and (layer["layer_norm1"]["scale"] == 1).all()


def test_sd21_size():
    """As many parameters as transformers counts for the published SD2.1 text encoder."""
    config = CLIPTextConfig(49408, 1024, 4096, 23, 16, hidden_act="gelu")
    shapes = jax.eval_shape(CLIPTextModel(config).init, jax.random.key(0), jnp.zeros((1, 77), jnp.int32))
    with torch.device("meta"):
        theirs = TransformersModel(TransformersConfig.from_dict(CLIP_TEXT.config_file.fields(config)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "relu"),
        ("model_type", "t5"),
        ("hidden_size", "wide"),
        ("num_attention_heads", 3),
        ("eos_token_id", [1, 2]),
    ],
)
def test_unsupported_configs_are_refused_by_name(field, value):
    with pytest.raises(CheckpointError, match=field) as error:
        CLIP_TEXT.config_file.parse(CLIP_TEXT.config_file.fields(CLIPTextConfig()) | {field: value})
    assert str(value) in str(error.value)


def test_missing_tensor_is_named(tmp_path):
    _transformers_model("sd15").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"encoder\.layers\.3"):
        CLIP_TEXT.read(open_checkpoint(tmp_path))


def test_too_long_ids_are_refused():
    model = CLIPTextModel(CLIPTextConfig(VOCAB, 32, 64, 1, 4, LENGTH))
    with pytest.raises(ValueError, match="max_position_embeddings"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, LENGTH + 1), jnp.int32))
