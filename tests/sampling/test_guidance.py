"""Guidance and control on a model whose outputs say what was passed to it; noise by example index."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.dual_branch import SideOutput
from lisa_jax.processes import EDM, Diffusion
from lisa_jax.sampling.guidance import Control, guided_predict, scales_of_frames, steps_with_control
from lisa_jax.sampling.noise import initial_noise

N, STEPS = 3, 10
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

    return SimpleNamespace(trunk=trunk, predict=predict, calls=calls)


def side(params, trunk, x, t, context, condition):
    wide = jnp.broadcast_to(params * condition, x.shape)
    return SideOutput((wide, jnp.broadcast_to(context[..., None], x.shape)), {})


def pooling_side(params, trunk, x, t, context, condition):
    return SideOutput((params * condition, context[..., None]), {})


def control(scale=1.0, start=0.0, end=1.0, side=side):
    return Control(side, jnp.float32(0.5), CONDITION, scale, start, end)


def expected(context, scales=(0.0, 0.0)):
    plain = 2.0 * X + T[:, None, None, None] + context[..., None]
    return plain + scales[0] * 0.5 * CONDITION + scales[1] * context[..., None]


def guided(model, controls=(), **arguments):
    settings = {"num_steps": STEPS, "context": CONTEXT, "null_context": NULL, "guidance_scale": 7.5} | arguments
    return guided_predict(model, Diffusion(), 2.0, controls, **settings)


def test_no_control_runs_the_main_network_alone():
    model = recording_model()
    predict = guided_predict(model, Diffusion(), 2.0, num_steps=STEPS, context=CONTEXT)
    np.testing.assert_allclose(predict(X, T, 0), expected(CONTEXT), rtol=1e-6)
    assert model.calls == [("trunk", N), ("predict", False)]


def test_residuals_of_all_controls_are_scaled_and_summed():
    predict = guided(recording_model(), [control(0.3), control(2.0)], null_context=None, guidance_scale=1.0)
    np.testing.assert_allclose(predict(X, T, 0), expected(CONTEXT, (2.3, 2.3)), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.7])
def test_guidance_extrapolates_from_the_null_context_in_one_call(scale):
    model = recording_model()
    null, text = expected(jnp.broadcast_to(NULL, CONTEXT.shape), (scale, scale)), expected(CONTEXT, (scale, scale))
    found = guided(model, [control(scale)] if scale else [])(X, T, 0)
    np.testing.assert_allclose(found, null + 7.5 * (text - null), rtol=1e-5)
    assert [call for call in model.calls if call[0] == "trunk"] == [("trunk", 2 * N)]


def test_null_context_may_differ_by_example():
    null_context = -CONTEXT
    null, text = expected(null_context), expected(CONTEXT)
    found = guided(recording_model(), null_context=null_context)(X, T, 0)
    np.testing.assert_allclose(found, null + 7.5 * (text - null), rtol=1e-5)


def test_guidance_of_videos_rises_from_the_first_frame_to_the_last():
    scales = scales_of_frames(1.0, 3.0, 5)
    np.testing.assert_array_equal(scales, [1.0, 1.5, 2.0, 2.5, 3.0])
    videos, context = jnp.ones((N, 5, 1, 1, 1)), CONTEXT[..., None, None]
    model = SimpleNamespace(
        trunk=lambda frozen, x, t, context: x * context, predict=lambda frozen, trunk, residuals: trunk
    )
    predict = guided_predict(
        model,
        Diffusion(),
        None,
        num_steps=STEPS,
        context=context,
        null_context=jnp.zeros_like(context),
        guidance_scale=scales,
    )
    found = predict(videos, T, 0)
    np.testing.assert_allclose(found[..., 0, 0, 0], CONTEXT[:, 0] * scales, rtol=1e-6)


def test_control_acts_in_its_window_of_steps_alone():
    # As diffusers: a step belongs to the window if all of it does.
    assert steps_with_control(STEPS, 0.25, 0.75).tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert steps_with_control(3, 0.0, 1.0).all()
    controls = [control(0.5, end=0.5), control(2.0, start=0.3)]
    predict = jax.jit(guided(recording_model(), controls, null_context=None, guidance_scale=1.0))
    for index, scale in [(0, 0.5), (4, 2.5), (9, 2.0)]:
        np.testing.assert_allclose(predict(X, T, index), expected(CONTEXT, (scale, scale)), rtol=1e-5)


def test_guess_mode_leaves_the_null_prediction_alone_and_fades_early_residuals():
    null, text = expected(jnp.broadcast_to(NULL, CONTEXT.shape)), expected(CONTEXT, (0.07, 0.7))
    found = guided(recording_model(), [control(0.7)], guess_mode=True)(X, T, 0)
    np.testing.assert_allclose(found, null + 7.5 * (text - null), rtol=1e-5)


def test_pooling_side_network_implies_guess_mode_without_fading():
    null, text = expected(jnp.broadcast_to(NULL, CONTEXT.shape)), expected(CONTEXT, (0.7, 0.7))
    found = guided(recording_model(), [control(0.7, side=pooling_side)])(X, T, 0)
    np.testing.assert_allclose(found, null + 7.5 * (text - null), rtol=1e-5)


def test_the_network_gets_the_process_input_and_time():
    sigma = jnp.array([0.5, 1.0, 4.0])
    predict = guided_predict(recording_model(), EDM(), 2.0, num_steps=STEPS, context=CONTEXT)
    wide = (N, 1, 1, 1)
    exact = 2 * X / jnp.sqrt(sigma**2 + 1).reshape(wide) + 0.25 * jnp.log(sigma).reshape(wide) + CONTEXT[..., None]
    np.testing.assert_allclose(predict(X, sigma, 0), exact, rtol=1e-5)


def test_guidance_without_null_context_is_refused():
    with pytest.raises(ValueError, match="null_context"):
        guided(recording_model(), null_context=None)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)])
def test_impossible_windows_are_refused(start, end):
    with pytest.raises(ValueError, match="control_start"):
        control(1.0, start, end)


def test_guidance_of_a_bfloat16_network_is_computed_in_float32():
    model = recording_model()
    model.predict = lambda frozen, trunk, residuals=None: trunk.astype(jnp.bfloat16)
    null, text = (expected(context).astype(jnp.bfloat16).astype(jnp.float32) for context in (NULL, CONTEXT))
    np.testing.assert_allclose(guided(model)(X, T, 0), null + 7.5 * (text - null), rtol=1e-6)


def test_initial_noise_belongs_to_the_example():
    noise = initial_noise(0, range(64), (8, 8, 4))
    np.testing.assert_array_equal(noise[5:6], initial_noise(0, [5], (8, 8, 4)))
    np.testing.assert_array_equal(noise[jnp.array([7, 2])], initial_noise(0, [7, 2], (8, 8, 4)))
    assert not np.array_equal(noise, initial_noise(1, range(64), (8, 8, 4)))
    assert np.unique(np.asarray(noise[:, 0, 0, 0])).size == 64
    assert noise.dtype == jnp.float32 and abs(float(noise.std()) - 1) < 0.02
