"""Reading runs back."""

import jax
import pytest

from configs import openmoji_lineart
from lisa_jax.aot.step import abstract_step
from lisa_jax.experiments.base import architecture, load_base
from lisa_jax.experiments.control import control_experiment
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.program import make_program


@pytest.mark.parametrize(
    ("condition", "hook"), [("lineart", "down_1"), ("lineart", "down_0,mid"), (("lineart", "lowres"), "down_1")]
)
def test_whoever_builds_the_program_of_a_config_gets_the_same_state(condition, hook, tiny_base):
    config = openmoji_lineart.get_config()
    config.update(base=str(tiny_base), condition_channels=(8,), ema_decay=0.9)
    config.lisa.hook, config.data.image_size = hook, 16
    with config.ignore_type():
        config.data.condition = condition
    family, mesh = load_base(config), make_mesh(devices=jax.devices()[:1])
    whole = control_experiment(config, family, {"main": family.frozen}, empty=None)
    # With what the side networks start from, as `fit` knows it; with neither start nor frozen weights, as who reads a
    # checkpoint; and with no weights at all, as who compiles.
    trained = make_program(whole, config, mesh, whole.load_start()).state
    read = make_program(control_experiment(config, family, {}, empty=None), config, mesh).state
    compiled, *_ = abstract_step(config, architecture(config, None), mesh, aligns=True).arguments
    for other in (read, compiled):
        assert jax.tree.structure(other) == jax.tree.structure(trained)
        assert jax.tree.leaves(other) == jax.tree.leaves(trained)
