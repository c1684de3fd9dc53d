"""What a config's lisa fields mean, and which of them two runs must share to continue each other."""

import types

import pytest
from jax.sharding import AbstractMesh
from ml_collections import ConfigDict

from lisa_jax.alignment import Alignment
from lisa_jax.dual_branch import DualBranch, SideNetwork
from lisa_jax.experiments.control import alignment_of, check_aligned_rows, identity
from lisa_jax.parallel.sharding import AXES

MODEL = DualBranch(None, None, None, {"pose": SideNetwork(None, None, None, None, ("down_3", "mid"))})
FOUR_BLOCKS = AbstractMesh((2, 2, 1), AXES)
LISA = {"lam": 0.2, "hook": "mid", "weighting": "uniform", "align_every": 1, "decoder_width": 1.0}
FAMILY = types.SimpleNamespace(model=MODEL, fingerprint="abc")


def a_config(**lisa):
    shared = {"seed": 0, "batch_size": 8, "accumulate": 1, "frozen_dtype": "float32", "data": {}, "side": {}}
    return ConfigDict(shared | {"condition_channels": (8,), "ema_decay": 0.0, "lisa": LISA | lisa})


def test_hooks_of_a_config():
    assert alignment_of(a_config(hook="mid"), MODEL) == Alignment(("mid",))
    assert alignment_of(a_config(hook="down_3,mid"), MODEL).hooks == ("down_3", "mid")
    assert alignment_of(a_config(hook=["mid", "down_3"]), MODEL).hooks == ("mid", "down_3")
    assert alignment_of(a_config(hook="mid", lam=0.0), MODEL) is None
    with pytest.raises(ValueError, match="'down_9': these side networks have down_3, mid"):
        alignment_of(a_config(hook="mid,down_9"), MODEL)


def test_what_is_aligned_and_how_is_one_value():
    config = a_config(hook="mid", weighting="high_noise", align_every=4)
    assert alignment_of(config, MODEL) == Alignment(("mid",), "high_noise", 4)
    for field, value, sentence in (
        ("weighting", "snr", "Unknown weighting 'snr'"),
        ("align_every", 0, "lisa.align_every is 0"),
        ("hook", "mid,", "is no name"),
    ):
        with pytest.raises(ValueError, match=sentence):
            alignment_of(a_config(**{field: value}), MODEL)


@pytest.mark.parametrize(("batch_size", "every", "warned"), [(8, 2, False), (8, 4, True), (16, 4, False), (4, 2, True)])
def test_aligned_rows_that_would_have_to_move_are_told(caplog, batch_size, every, warned):
    config = a_config(align_every=every)
    config.batch_size = batch_size
    check_aligned_rows(config, FOUR_BLOCKS)
    assert (f"lisa.align_every {every} does not divide the {batch_size // 4} rows" in caplog.text) == warned
    config.lisa.lam = 0.0
    caplog.clear()
    check_aligned_rows(config, FOUR_BLOCKS)
    assert not caplog.text


def test_runs_with_decoders_of_different_widths_do_not_continue_each_other():
    assert identity(a_config(hook="mid", decoder_width=2.0), FAMILY)["decoder_width"] == 2
    # Without alignment there is no decoder that could differ.
    assert identity(a_config(hook="mid", lam=0.0, decoder_width=2.0), FAMILY)["decoder_width"] == 1
