"""Our T5 encoder against transformers' T5EncoderModel: outputs, files in both directions, initialisation."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import T5Config as TransformersConfig
from transformers import T5EncoderModel as TransformersModel
from transformers.models.t5.modeling_t5 import T5Attention as TransformersAttention

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.t5 import T5_ENCODER
from lisa_jax.models.t5_encoder import T5Config, T5EncoderModel, relative_position_buckets

VOCAB, LENGTH = 60, 40
# Inner widths that are not the outer one, buckets and distances so small that the length reaches the last of them.
TINY = {
    "vocab_size": VOCAB,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 12,
    "relative_attention_max_distance": 20,
    "feed_forward_proj": "gated-gelu",
}


def _transformers_model(**fields) -> TransformersModel:
    model = TransformersModel(TransformersConfig(**TINY | fields)).eval()
    with torch.no_grad():  # attention that is not almost uniform, norms that are not 1
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def _ids(length: int = LENGTH) -> np.ndarray:
    ids = np.random.default_rng(0).integers(3, VOCAB, (3, length), np.int32)
    ids[1, 5:] = [1, *[0] * (length - 6)]  # `</s>` and padding, which is not masked
    return ids


@torch.no_grad()
@pytest.mark.parametrize("fields", [{}, {"relative_attention_num_buckets": 32, "layer_norm_epsilon": 1e-3}])
def test_output_equals_transformers(tmp_path, run, fields, max_difference):
    model = _transformers_model(**fields)
    model.save_pretrained(tmp_path)
    config, params = T5_ENCODER.read(open_checkpoint(tmp_path))
    ours = run(T5EncoderModel(config).apply, {"params": params}, _ids())
    theirs = model(torch.from_numpy(_ids()).long())[0]
    difference = max_difference((theirs,), (ours,))
    print(f"{fields}: max abs diff {difference:.2e} of {float(jnp.abs(ours).max()):.2f}")
    assert difference < 2e-5


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (12, 20), (6, 300), (4, 2)])
def test_buckets_of_all_distances_are_transformers(buckets, max_distance):
    positions = torch.arange(600)
    theirs = TransformersAttention._relative_position_bucket(
        positions[None, :] - positions[:, None], True, buckets, max_distance
    )
    np.testing.assert_array_equal(relative_position_buckets(600, buckets, max_distance), theirs)


def test_bfloat16_computation_stays_close(tmp_path, run):
    _transformers_model().save_pretrained(tmp_path)
    config, params = T5_ENCODER.read(open_checkpoint(tmp_path))
    half = T5_ENCODER.read(open_checkpoint(tmp_path), dtype=jnp.bfloat16)[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}
    exact = run(T5EncoderModel(config).apply, {"params": params}, _ids())
    rough = run(T5EncoderModel(config, jnp.bfloat16).apply, {"params": half}, _ids())
    assert rough.dtype == jnp.bfloat16
    relative = float(jnp.linalg.norm(rough.astype(jnp.float32) - exact) / jnp.linalg.norm(exact))
    print(f"bfloat16: relative difference {relative:.1e}")
    assert relative < 0.03


def test_both_names_of_the_token_table_and_shards_are_read(tmp_path):
    model = _transformers_model()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-0*.safetensors"))) > 2
    whole, shards = (T5_ENCODER.read(open_checkpoint(tmp_path / name))[1] for name in ("whole", "shards"))
    jax.tree.map(np.testing.assert_array_equal, shards, whole)

    tensors = load_file(tmp_path / "whole" / "model.safetensors")
    tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].copy()
    save_file(tensors, tmp_path / "whole" / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, T5_ENCODER.read(open_checkpoint(tmp_path / "whole"))[1], whole)


def test_written_folder_loads_in_transformers(tmp_path):
    model = _transformers_model()
    model.save_pretrained(tmp_path / "theirs")
    config, params = T5_ENCODER.read(open_checkpoint(tmp_path / "theirs"))
    T5_ENCODER.write(tmp_path / "ours", config, params)
    loaded, report = TransformersModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for (name, expected), got in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(expected, got), name
    assert T5_ENCODER.read(open_checkpoint(tmp_path / "ours"))[0] == config


def test_initialisation_is_transformers(run):
    sizes = {"vocab_size": 400, "d_model": 96, "d_kv": 24, "d_ff": 160, "num_layers": 1, "num_heads": 8}
    sizes |= {"feed_forward_proj": "gated-gelu", "initializer_factor": 0.5}
    theirs = TransformersModel(TransformersConfig(**sizes)).state_dict()
    params = run(T5EncoderModel(T5Config(**sizes)).init, jax.random.key(0), _ids(4))["params"]
    for key, entry in T5_ENCODER.key_table(T5Config(**sizes)).items():
        leaf = params
        for name in entry.path:
            leaf = leaf[name]
        assert abs(float(leaf.std()) - theirs[key].std()) <= 0.15 * theirs[key].std(), key


def test_published_size():
    """As many parameters as transformers counts for the encoder of Stable Diffusion 3."""
    fields = {"vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
    config = T5Config(**fields, feed_forward_proj="gated-gelu")
    with torch.device("meta"):
        theirs = TransformersModel(TransformersConfig.from_dict(T5_ENCODER.config_file.fields(config)))
    count = sum(int(np.prod(entry.shape)) for entry in T5_ENCODER.key_table(config).values())
    assert count == sum(p.numel() for p in theirs.parameters()) == 4_762_310_656


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("feed_forward_proj", "relu"),
        ("feed_forward_proj", "gated-silu"),
        ("model_type", "umt5"),
        ("d_kv", "wide"),
        ("num_layers", 0),
        ("relative_attention_num_buckets", 2),
        ("relative_attention_max_distance", 8),
    ],
)
def test_unsupported_configs_are_refused_by_name(field, value):
    fields = T5_ENCODER.config_file.fields(T5Config(feed_forward_proj="gated-gelu"))
    with pytest.raises(CheckpointError, match=field) as error:
        T5_ENCODER.config_file.parse(fields | {field: value})
    assert str(value) in str(error.value)


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    _transformers_model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model-00001-of-00002.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(CheckpointError, match=r"pytorch_model-00001-of-00002\.bin is a pickle"):
        T5_ENCODER.read(open_checkpoint(tmp_path))
