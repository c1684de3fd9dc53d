"""`lisa_jax pretrain`: a base from nothing, in the same process."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from lisa_jax.commands._work import pretrain
from lisa_jax.configs import openmoji_flow_base
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family


@pytest.fixture
def tiny_flow_config():
    config = openmoji_flow_base.get_config()
    config.update(batch_size=4, num_steps=2, log_every=1, trackers=())
    config.data.image_size = 16
    config.transformer.update(num_layers=2, heads=2, head_dim=8)
    config.text.update(vocab_size=600, max_length=8, width=8, heads=2)
    config.sampling.update(num_steps=1, count=2)
    # Enough to be seen after two steps.
    config.optimizer.update(weight_decay=10.0, learning_rate=1e-2, warmup_steps=0)
    return config


def flat(params):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf, np.float32)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


@pytest.mark.slow
def test_two_steps_move_the_weights_of_a_transformer_and_leave_its_table_of_positions(
    tiny_flow_config, tiny_data, tmp_path, monkeypatch, metrics_of
):
    monkeypatch.setenv("LISA_JAX_DATA", str(tiny_data))
    monkeypatch.setattr(pretrain, "FLAGS", SimpleNamespace(config=tiny_flow_config, workdir=tmp_path))
    pretrain.main()

    assert [line["step"] for line in metrics_of(tmp_path) if "loss" in line] == [1, 2]
    assert (tmp_path / "previews" / "samples_0000002.png").is_file()
    before, after = (
        flat(load_family(tmp_path / folder, Setup(frozen_dtype="float32")).frozen) for folder in ("new_base", "base")
    )
    assert before.keys() == after.keys()
    as_written = {name: np.float32(np.float16(leaf)) for name, leaf in before.items()}
    same = {name for name, leaf in after.items() if np.array_equal(leaf, as_written[name])}
    assert {name for name in same if np.any(after[name])} == {"pos_embed/pos_embed"}
