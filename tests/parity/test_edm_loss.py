"""The LISA loss of a base that was trained as Stable Video Diffusion was, and its gradients, against PyTorch.

The networks are linear maps around a tanh; what is compared is the noise process: scalings, targets and weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from lisa_jax.alignment import Alignment, NoisySample, lisa_loss
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput
from lisa_jax.objective import X0, Objective
from lisa_jax.processes import EDM

# Videos (n, f, h, w, c), and the width of the networks.
SHAPE, WIDTH, LAM = (5, 3, 2, 2, 4), 6, 0.2
SIGMA = np.float32([0.05, 0.5, 2.0, 9.0, 200.0])


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


X0_, NOISE, CONTEXT, CONDITION = (numbers(*SHAPE, seed=seed) for seed in range(4))
FROZEN = {
    "in": numbers(4, WIDTH),
    "context": numbers(4, WIDTH, seed=1),
    "time": numbers(WIDTH),
    "out": numbers(WIDTH, 4),
}
SIDE = {"trunk": numbers(WIDTH, WIDTH, seed=2), "condition": numbers(4, WIDTH, seed=3), "zero": numbers(WIDTH, WIDTH)}
DECODER = {"out": numbers(WIDTH, 4, seed=4), "time": numbers(4)}


def trunk(p, x, t, context, tanh):
    return tanh(x @ p["in"] + context @ p["context"] + t * p["time"])


def side(p, hidden, condition, tanh):
    feature = tanh(hidden @ p["trunk"] + condition @ p["condition"])
    return feature @ p["zero"], feature


def decode(p, feature, t):
    return feature @ p["out"] + t * p["time"]


def wide(t):
    return t.reshape(-1, 1, 1, 1, 1)


def ours(space="network"):
    """The value and the gradients of our loss."""
    process = Objective(EDM(), space=space)

    def apply(params, hidden, x_t, t, context, condition):
        residual, feature = side(params, hidden, condition, jnp.tanh)
        return SideOutput((residual,), {"mid": feature})

    network = SideNetwork(
        apply=apply,
        init=None,
        decode=lambda params, feature, t, shape: decode(params, feature, wide(t)),
        init_decoder=None,
        hooks=("mid",),
        trunk=lambda params: params,
        fresh={},
    )
    model = DualBranch(
        trunk=lambda p, x, t, context: trunk(p, x, wide(t), context, jnp.tanh),
        predict=lambda p, hidden, residuals=None: (hidden + (residuals[0] if residuals else 0)) @ p["out"],
        joined=lambda hidden: (hidden,),
        sides={"pose": network},
    )
    t = jnp.asarray(SIGMA)
    noisy = NoisySample(process.perturb(X0_, NOISE, t), t, process.target(X0_, NOISE, t))
    inputs = {"context": CONTEXT, "condition": {"pose": CONDITION}}

    def loss(trainable):
        align = Alignment(("mid",))
        terms, metrics = lisa_loss(trainable, FROZEN, inputs, noisy, model=model, process=process, align=align)
        return terms.total(LAM), (terms, metrics.example_loss)

    trainable = {"side": {"pose": SIDE}, "decoder": {"mid": {"pose": DECODER}}}
    (_, found), gradients = jax.value_and_grad(loss, has_aux=True)(trainable)
    return *found, gradients["side"]["pose"], gradients["decoder"]["mid"]["pose"]


@pytest.fixture(scope="module")
def theirs():
    """The same in PyTorch, as the preconditioning of the paper has it (arXiv 2206.00364, table 1, sigma_data 1)."""
    frozen, side_params, decoder = (
        {name: torch.tensor(leaf, requires_grad=True) for name, leaf in tree.items()}
        for tree in (FROZEN, SIDE, DECODER)
    )
    x0, noise, context, condition, sigma = map(torch.from_numpy, (X0_, NOISE, CONTEXT, CONDITION, SIGMA))
    s = wide(sigma)
    x_t, t = x0 + s * noise, 0.25 * s.log()
    c_skip, c_out, c_in = 1 / (s**2 + 1), -s / (s**2 + 1).sqrt(), 1 / (s**2 + 1).sqrt()
    hidden = trunk(frozen, c_in * x_t, t, context, torch.tanh)
    residual, feature = side(side_params, hidden, condition, torch.tanh)
    output, prior = (hidden + residual) @ frozen["out"], hidden @ frozen["out"]
    target = (x0 - c_skip * x_t) / c_out
    aligned = decode(decoder, feature, t)
    # The usual form: x0, weighted by (1 + sigma^2) / sigma^2.
    main = ((1 + s**2) / s**2 * (c_skip * x_t + c_out * output - x0) ** 2).mean()
    align = ((aligned - (target - prior).detach()) ** 2).mean()
    (main + LAM * align).backward()
    return main, align, side_params, decoder, ((output - target) ** 2).mean()


def test_loss_and_gradients_equal_pytorch(theirs):
    terms, _, side_gradients, decoder_gradients = ours()
    main, align, side_params, decoder, plain = theirs
    np.testing.assert_allclose(plain.item(), main.item(), rtol=1e-4)
    np.testing.assert_allclose([terms.main, terms.align], [main.item(), align.item()], rtol=1e-4)
    for gradients, params in ((side_gradients, side_params), (decoder_gradients, decoder)):
        for name, gradient in gradients.items():
            expected = params[name].grad.numpy()
            error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
            assert error <= 1e-4, f"{name}: {error:.1e}"


def test_a_plain_loss_of_outputs_is_the_weighted_loss_of_x0():
    plain, of_outputs = ours()[:2]
    _, of_x0 = ours(X0)[:2]
    np.testing.assert_allclose(of_outputs, (1 + SIGMA**2) / SIGMA**2 * of_x0, rtol=2e-3)
    np.testing.assert_allclose(plain.main, np.mean((1 + SIGMA**2) / SIGMA**2 * of_x0), rtol=2e-3)
