"""What a config's lisa fields mean, and which of them two runs must share to continue each other."""

import types

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict
from toys import image

from lisa_jax.alignment import Alignment
from lisa_jax.configs import base
from lisa_jax.dual_branch import DualBranch, SideNetwork
from lisa_jax.experiments.control import alignment_of, check_aligned_rows, control_losses, identity, objective_of
from lisa_jax.metrics import summarise
from lisa_jax.objective import Objective
from lisa_jax.parallel.sharding import AXES
from lisa_jax.processes import Diffusion, RectifiedFlow

MODEL = DualBranch(None, None, None, {"pose": SideNetwork(None, None, None, None, ("down_3", "mid"))})
FOUR_BLOCKS = AbstractMesh((2, 2, 1), AXES, (AxisType.Auto,) * 3)
LISA = {"lam": 0.2, "hook": "mid", "weighting": "uniform", "align_every": 1, "decoder_width": 1.0}
LOSS = {"space": "network", "weighting": "uniform", "min_snr_gamma": 5.0, "times": "usual"}
FAMILY = types.SimpleNamespace(model=MODEL, fingerprint="abc")


def a_config(**lisa):
    shared = {"seed": 0, "batch_size": 8, "accumulate": 1, "frozen_dtype": "float32", "data": {}, "side": {}}
    networks = {"condition_channels": (8,), "ema_decay": 0.0, "optimizer": base.optimizer()}
    return ConfigDict(shared | networks | {"loss": LOSS, "lisa": LISA | lisa})


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


def test_runs_whose_losses_are_in_different_spaces_do_not_continue_each_other():
    config = a_config(hook="mid")
    config.loss.update(space="x0", weighting="min_snr", min_snr_gamma=3.0)
    assert identity(config, FAMILY)["loss_space"] == "x0"
    assert objective_of(config, Diffusion()) == Objective(Diffusion(), "x0", "min_snr", 3.0)
    config.loss.weighting = "cosmap"
    with pytest.raises(ValueError, match=r"loss\.weighting 'cosmap' does not fit .* uniform or min_snr"):
        objective_of(config, Diffusion())


def test_a_flow_s_noise_levels_are_drawn_as_the_config_says():
    config = a_config(hook="mid")
    assert objective_of(config, RectifiedFlow()).process == RectifiedFlow()
    config.loss.times = "uniform"
    assert objective_of(config, RectifiedFlow(shift=2.0)).process == RectifiedFlow(2.0, "uniform")
    with pytest.raises(
        ValueError, match=r"loss\.times 'uniform' is of rectified flows, .* process is Diffusion: leave"
    ):
        objective_of(config, Diffusion())


def test_both_terms_of_a_config_s_loss_are_in_its_space_and_the_main_one_is_weighed():
    config, family = base.control(), image.family()
    config.lisa.update(hook="mid", lam=0.5)
    config.loss.update(space="x0", weighting="min_snr", min_snr_gamma=3.0)
    generator = np.random.default_rng(0)
    pictures = generator.uniform(-1, 1, (8, image.SIZE, image.SIZE, 3)).astype(np.float32)
    inputs = {"moments": pictures, "context": generator.normal(size=(8, 2, 3)).astype(np.float32)}
    inputs |= {"condition": {"edges": generator.integers(0, 256, pictures.shape, np.uint8)}}
    trainable = {"side": {"edges": image.side_params(out=0.1)}, "decoder": {"mid": {"edges": {"scale": np.eye(2, 3)}}}}

    @jax.jit
    def both(trainable, frozen):
        key = jax.random.key(1)
        return control_losses(config, family, np.zeros((1, 2, 3))).measured(trainable, frozen, inputs, key=key, step=0)

    loss, metrics = both(trainable, {"main": family.frozen})
    found = summarise(metrics.means)
    t, errors = np.asarray(metrics.t), np.asarray(metrics.example_loss)
    alpha, sigma = (table[t] for table in family.process.alpha_sigma_tables())
    main = (np.minimum(alpha**2 / sigma**2, 3) * errors).mean()
    assert found["target_power"] == pytest.approx(np.square(pictures).mean(), rel=1e-5)
    assert float(loss) == pytest.approx(main + 0.5 * found["align_loss"], rel=1e-5)


def test_runs_with_decoders_of_different_widths_do_not_continue_each_other():
    assert identity(a_config(hook="mid", decoder_width=2.0), FAMILY)["decoder_width"] == 2
    # Without alignment there is no decoder that could differ.
    assert identity(a_config(hook="mid", lam=0.0, decoder_width=2.0), FAMILY)["decoder_width"] == 1
