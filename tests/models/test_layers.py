"""Layers as the networks read them."""

import jax
import jax.numpy as jnp
import pytest
from flax.errors import ScopeParamShapeError

from lisa_jax.models.layers import Conv, Linear
from lisa_jax.models.norms import GroupNorm

PICTURE = jnp.ones((1, 4, 4, 4))


@pytest.mark.parametrize("layer", [Linear(8), Conv(8), GroupNorm(2, 1e-5)], ids=lambda layer: type(layer).__name__)
def test_reading_a_parameter_draws_no_random_numbers_and_another_shape_is_refused(layer):
    params = layer.init(jax.random.key(0), PICTURE)
    assert "random" not in str(jax.make_jaxpr(layer.apply)(params, PICTURE))
    with pytest.raises(ScopeParamShapeError, match="shape"):
        layer.apply(jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), params), PICTURE)
