"""The theory: with the exact prior as main network, the alignment decoder becomes the exact likelihood score."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.evaluation import gaussian

_path = Path(__file__).parents[1] / "examples" / "likelihood_score.py"
_spec = importlib.util.spec_from_file_location("likelihood_score", _path)
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)

every_process = pytest.mark.parametrize(
    "process", example.PROCESSES.values(), ids=[name.replace(" ", "_") for name in example.PROCESSES]
)


def noisy_batch(process, n=64):
    batch = example.draw_batch(jax.random.key(0), n)
    t = process.sample_t(jax.random.key(1), n)
    x_t = process.perturb(batch["latents"], jax.random.normal(jax.random.key(2), (n, 2)), t)
    return x_t, t, batch["condition"][example.CONDITION]


@every_process
def test_closed_form_is_the_gradient_of_log_p_of_c_given_x_t(process):
    """Against another route: log p(c, x_t) - log p(x_t), both mixtures written down directly."""
    x_t, t, c = noisy_batch(process)
    matrix, noise_std = example.MATRIX, example.NOISE_STD

    def log_likelihood(x, observed, alpha, sigma):
        joint_matrix = jnp.concatenate([alpha * jnp.eye(2), matrix])
        joint_noise = jnp.diag(jnp.array([sigma**2, sigma**2, noise_std**2]))
        weights, means, covariances = example.MIXTURE
        joint = gaussian.GaussianMixture(
            weights, means @ joint_matrix.T, joint_matrix @ covariances @ joint_matrix.T + joint_noise
        )
        marginal = gaussian.GaussianMixture(weights, joint.means[:, :2], joint.covariances[:, :2, :2])
        return gaussian.log_density(joint, jnp.concatenate([x, observed])) - gaussian.log_density(marginal, x)

    level = process.coefficients(t)
    expected = jax.jit(jax.vmap(jax.grad(log_likelihood)))(x_t, c, level.alpha, level.sigma)
    exact = jax.jit(gaussian.likelihood_score, static_argnames=("process", "noise_std"))
    measured = exact(example.MIXTURE, matrix, noise_std, process, x_t, t, c)
    # Each route is a difference of two larger scores.
    np.testing.assert_allclose(measured, expected, rtol=1e-2, atol=2e-3)


@every_process
def test_main_network_is_the_exact_prior(process):
    x_t, t, _ = noisy_batch(process)
    model = example.exact_prior_model(process)
    trunk = model.trunk(example.MIXTURE, process.network_input(x_t, t), process.network_time(t), None)
    score = process.score(model.predict(example.MIXTURE, trunk), x_t, t)
    np.testing.assert_allclose(score, gaussian.prior_score(example.MIXTURE, process, x_t, t), rtol=1e-2, atol=5e-3)


@every_process
def test_trained_decoder_is_the_likelihood_score(process):
    trainable = example.train(process, jax.random.key(0), steps=700, batch_size=512)
    scores = {
        level: example.r_squared(*example.compare(trainable, process, level, jax.random.key(1)))
        for level in (0.3, 0.5, 0.7, 0.9)
    }
    print(scores)
    assert min(scores.values()) >= 0.95, scores
