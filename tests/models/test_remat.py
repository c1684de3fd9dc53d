"""What the backward pass computes again, and that this changes no gradient."""

from collections import Counter

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lisa_jax.models.attention import Transformer2D
from lisa_jax.models.blocks import BlockSettings
from lisa_jax.models.remat import REMAT_POLICIES, check_remat


class Blocks(nn.Module):
    """One resnet and one transformer block."""

    remat: str

    @nn.compact
    def __call__(self, x, emb, context):
        settings = BlockSettings(norm_groups=2, norm_eps=1e-5, heads=2, remat=self.remat)
        transformer: Transformer2D = settings.transformer("transformer")
        return transformer(settings.resnet(8, "resnet")(x, emb), context)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    x, emb, context = (rng.normal(size=size).astype(np.float32) for size in ((2, 4, 4, 8), (2, 8), (2, 3, 6)))
    shapes = jax.eval_shape(Blocks("none").init, jax.random.key(0), x, emb, context)
    params = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    return params, x, emb, context


def gradients(remat):
    return jax.grad(lambda params, *inputs: jnp.sum(jnp.square(Blocks(remat).apply(params, *inputs))))


def primitives(jaxpr, found=None):
    """How often each primitive stands in a jaxpr and those within it."""
    found = Counter() if found is None else found
    for equation in jaxpr.eqns:
        found[equation.primitive.name] += 1
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            primitives(inner, found)
    return found


def test_gradients_stay_the_same(inputs):
    none, *others = jax.jit(lambda *given: [gradients(remat)(*given) for remat in REMAT_POLICIES])(*inputs)
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(none))
    for remat, found in zip(REMAT_POLICIES[1:], others, strict=True):
        gaps = jax.tree.map(lambda one, other: float(jnp.abs(one - other).max()), none, found)
        print(f"{remat}: max abs difference {max(jax.tree.leaves(gaps)):.1e} of gradients up to {scale:.1e}")
        assert max(jax.tree.leaves(gaps)) < 1e-5 * scale


def test_each_policy_computes_again_what_it_says(inputs):
    counts = {remat: primitives(jax.make_jaxpr(gradients(remat))(*inputs).jaxpr) for remat in REMAT_POLICIES}
    none, attention, dots, full = (counts[remat] for remat in REMAT_POLICIES)
    # Two attentions: the scores of each.
    assert attention["exp"] - none["exp"] == 2
    assert attention["dot_general"] - none["dot_general"] == 2
    assert attention["conv_general_dilated"] == none["conv_general_dilated"]
    # Norms again, too, but no convolution; of the products only those of attention, scores and values.
    assert dots["rsqrt"] > none["rsqrt"] == attention["rsqrt"]
    assert dots["conv_general_dilated"] == none["conv_general_dilated"]
    assert dots["dot_general"] - none["dot_general"] == 4
    # Everything again.
    assert full["conv_general_dilated"] >= none["conv_general_dilated"] + 1
    assert full["dot_general"] >= dots["dot_general"] + 5


# As --config.remat=True is read, which older versions took.
@pytest.mark.parametrize("remat", ["some", "True"])
def test_a_policy_that_does_not_exist_is_refused_with_those_that_do(remat):
    with pytest.raises(ValueError, match=f"remat '{remat}' does not exist: use none, attention, dots, full"):
        check_remat(remat)
