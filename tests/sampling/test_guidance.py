"""Guidance and control on a model whose outputs say what was passed to it; noise by example index."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.processes import EDM, Diffusion
from lisa_jax.sampling.guidance import guided_predict
from lisa_jax.sampling.noise import initial_noise

N = 3
X = jax.random.normal(jax.random.key(0), (N, 2, 2, 1))
CONTEXT = jnp.arange(1.0, N + 1).reshape(N, 1, 1)
NULL = -jnp.ones((1, 1, 1))
CONDITION = 10.0 * jnp.arange(1.0, N + 1).reshape(N, 1, 1, 1)
T = jnp.array([1, 2, 3])


def recording_model():
    calls = []

    def trunk(frozen, x, t, context):
        calls.append(("trunk", x.shape[0]))
        return frozen * x + t[:, None, None, None] + context[:, :, :, None]

    def predict(frozen, trunk, residuals=None):
        calls.append(("predict", residuals is not None))
        return trunk if residuals is None else trunk + residuals[0] + residuals[1]

    def side(params, x, t, context, condition):
        calls.append(("side", x.shape[0]))
        return SimpleNamespace(residuals=(params * condition, context[..., None]), features={})

    return SimpleNamespace(trunk=trunk, predict=predict, side=side, calls=calls)


def expected(context, control_scale=None):
    plain = 2.0 * X + T[:, None, None, None] + context[..., None]
    return plain if control_scale is None else plain + control_scale * (0.5 * CONDITION + context[..., None])


def test_no_condition_runs_the_main_network_alone():
    model = recording_model()
    predict = guided_predict(model, Diffusion(), 2.0, context=CONTEXT)
    np.testing.assert_allclose(predict(X, T), expected(CONTEXT), rtol=1e-6)
    assert model.calls == [("trunk", N), ("predict", False)]


def test_control_scale_multiplies_every_residual():
    model = recording_model()
    predict = guided_predict(
        model, Diffusion(), 2.0, jnp.float32(0.5), context=CONTEXT, condition=CONDITION, control_scale=0.3
    )
    np.testing.assert_allclose(predict(X, T), expected(CONTEXT, 0.3), rtol=1e-5)


@pytest.mark.parametrize("controlled", [False, True])
def test_guidance_extrapolates_from_the_null_context_in_one_call(controlled):
    model = recording_model()
    control = {"side_params": jnp.float32(0.5), "condition": CONDITION, "control_scale": 0.7} if controlled else {}
    predict = guided_predict(model, Diffusion(), 2.0, context=CONTEXT, null_context=NULL, guidance_scale=7.5, **control)
    scale = 0.7 if controlled else None
    null, text = expected(jnp.broadcast_to(NULL, CONTEXT.shape), scale), expected(CONTEXT, scale)
    np.testing.assert_allclose(predict(X, T), null + 7.5 * (text - null), rtol=1e-5)
    assert [call for call in model.calls if call[0] == "trunk"] == [("trunk", 2 * N)]


def test_the_network_gets_the_process_input_and_time():
    model = recording_model()
    sigma = jnp.array([0.5, 1.0, 4.0])
    predict = guided_predict(model, EDM(), 2.0, context=CONTEXT)
    wide = (N, 1, 1, 1)
    exact = 2 * X / jnp.sqrt(sigma**2 + 1).reshape(wide) + 0.25 * jnp.log(sigma).reshape(wide) + CONTEXT[..., None]
    np.testing.assert_allclose(predict(X, sigma), exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"condition": CONDITION}, "side_params"), ({"guidance_scale": 7.5}, "null_context")]
)
def test_incomplete_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        guided_predict(recording_model(), Diffusion(), 2.0, context=CONTEXT, **arguments)


def test_initial_noise_belongs_to_the_example():
    noise = initial_noise(0, range(64), (8, 8, 4))
    np.testing.assert_array_equal(noise[5:6], initial_noise(0, [5], (8, 8, 4)))
    np.testing.assert_array_equal(noise[jnp.array([7, 2])], initial_noise(0, [7, 2], (8, 8, 4)))
    assert not np.array_equal(noise, initial_noise(1, range(64), (8, 8, 4)))
    assert np.unique(np.asarray(noise[:, 0, 0, 0])).size == 64
    assert noise.dtype == jnp.float32 and abs(float(noise.std()) - 1) < 0.02


def test_guidance_of_a_bfloat16_network_is_computed_in_float32():
    model = recording_model()
    model.predict = lambda frozen, trunk, residuals=None: trunk.astype(jnp.bfloat16)
    predict = guided_predict(model, Diffusion(), 2.0, context=CONTEXT, null_context=NULL, guidance_scale=7.5)
    null, text = (expected(context).astype(jnp.bfloat16).astype(jnp.float32) for context in (NULL, CONTEXT))
    np.testing.assert_allclose(predict(X, T), null + 7.5 * (text - null), rtol=1e-6)
