"""Refusals of learning rates by layer; what they do is tested against PyTorch in parity/test_learning_rates.py."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from lisa_jax.configs.base import control
from lisa_jax.dual_branch import DualBranch, SideNetwork
from lisa_jax.experiments.base import setup_of
from lisa_jax.experiments.learning_rates import rate_factors
from lisa_jax.families.family import USUAL_BIRTHS, Setup
from lisa_jax.families.unet_control import FRESH_LAYERS


def test_layers_that_the_side_networks_do_not_have_are_answered_with_those_that_they_have():
    config = control()
    config.optimizer.fresh_layers = "zero_convolutions, embedding"
    model = DualBranch(None, None, None, {"pose": SideNetwork(None, None, None, None, (), fresh=FRESH_LAYERS)})
    with pytest.raises(
        ValueError, match=r"layers 'embedding' in optimizer\.fresh_layers: .* zero_convolutions, condition_embedding\."
    ):
        rate_factors(config, model)


def test_settings_that_would_do_nothing_are_refused():
    config, side = control(), SideNetwork(None, None, None, None, ())
    with_fresh, without = (
        DualBranch(None, None, None, {"pose": one}) for one in (dataclasses.replace(side, fresh=FRESH_LAYERS), side)
    )
    for name, value in {"fresh_layers": "zero_convolutions", "fresh_steps": 100}.items():
        config.optimizer[name] = value
        with pytest.raises(ValueError, match=rf"optimizer\.{name} is set, but does nothing while .*fresh_rate is 1"):
            rate_factors(config, with_fresh)
        config.optimizer[name] = None
    config.optimizer.fresh_rate = 10.0
    rate_factors(config, with_fresh)
    with pytest.raises(ValueError, match=r"fresh_rate is 10, but these side networks name no fresh layers"):
        rate_factors(config, without)


def test_a_birth_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ValueError, match="Unknown condition_init 'preserve': use zero, default, preserving"):
        Setup(("pose",), condition_init="preserve")


@pytest.mark.parametrize("setting", [{"condition_init": "default"}, {"zero_convolution_scale": 0.1}])
def test_births_of_new_layers_are_refused_where_nothing_is_new(setting):
    config = control()
    config.side.update(setting)
    assert setup_of(config).births != USUAL_BIRTHS
    config.side.start_from = "trained/pose"
    with pytest.raises(ValueError, match=r"are of new side networks, but start_from continues one for every condition"):
        setup_of(config)
    # One that is new and one that goes on.
    config.data = ConfigDict({"condition": ("pose", "depth")})
    config.side.start_from = "pose=trained/pose"
    assert setup_of(config).conditions == ("pose", "depth")
