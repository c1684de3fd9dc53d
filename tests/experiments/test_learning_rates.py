"""Refusals of learning rates by layer; what they do is tested against PyTorch in parity/test_learning_rates.py."""

import pytest
from ml_collections import ConfigDict

from configs.base import control
from lisa_jax.dual_branch import DualBranch, SideNetwork
from lisa_jax.experiments.base import setup_of
from lisa_jax.experiments.learning_rates import rate_factors
from lisa_jax.families.family import USUAL_BIRTHS
from lisa_jax.families.unet_control import FRESH_LAYERS


def test_layers_that_the_side_networks_do_not_have_are_answered_with_those_that_they_have():
    config = control()
    config.optimizer.fresh_layers = "zero_convolutions, embedding"
    model = DualBranch(None, None, None, {"pose": SideNetwork(None, None, None, None, (), fresh=FRESH_LAYERS)})
    with pytest.raises(
        ValueError, match=r"layers 'embedding' in optimizer\.fresh_layers: .* zero_convolutions, condition_embedding\."
    ):
        rate_factors(config, model)


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
