"""Exact scores: Gaussian-mixture data with a linear-Gaussian condition.

With data x0 from a Gaussian mixture and a condition c = A x0 + noise, every conditional and every noised distribution
is again a Gaussian mixture, so prior, posterior and likelihood scores at any noise level have closed forms. They are
what a trained network, or LISA's alignment decoder, can be held against.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lisa_jax.processes import Process


class GaussianMixture(NamedTuple):
    """Mixture of K Gaussians in d dimensions; leading batch axes are allowed on every field."""

    log_weights: jax.Array
    """(K,), need not be normalised."""
    means: jax.Array
    """(K, d)"""
    covariances: jax.Array
    """(K, d, d), positive definite."""


def sample(mixture: GaussianMixture, key: jax.Array, n: int) -> jax.Array:
    """`n` points, (n, d)."""
    key_component, key_normal = jax.random.split(key)
    component = jax.random.categorical(key_component, mixture.log_weights, shape=(n,))
    normal = jax.random.normal(key_normal, (n, mixture.means.shape[-1]))
    factors = jnp.linalg.cholesky(mixture.covariances)
    return mixture.means[component] + jnp.einsum("nij,nj->ni", factors[component], normal)


def log_density(mixture: GaussianMixture, x: jax.Array) -> jax.Array:
    """log p(x) of one point (d,), a scalar."""
    components = jax.vmap(jax.scipy.stats.multivariate_normal.logpdf, (None, 0, 0))
    log_weights = jax.nn.log_softmax(mixture.log_weights)
    return jax.nn.logsumexp(log_weights + components(x, mixture.means, mixture.covariances))


def noised(mixture: GaussianMixture, alpha: jax.Array, sigma: jax.Array) -> GaussianMixture:
    """Distribution of alpha x0 + sigma noise, for scalars alpha and sigma."""
    identity = jnp.eye(mixture.means.shape[-1])
    return GaussianMixture(
        mixture.log_weights, alpha * mixture.means, alpha**2 * mixture.covariances + sigma**2 * identity
    )


def given_condition(mixture: GaussianMixture, matrix: jax.Array, noise_std: float, c: jax.Array) -> GaussianMixture:
    """Posterior of x0 given one observation c = matrix x0 + noise_std noise; matrix (m, d), c (m,)."""
    identity = jnp.eye(matrix.shape[0])

    def component(log_weight: jax.Array, mean: jax.Array, covariance: jax.Array) -> GaussianMixture:
        evidence = matrix @ covariance @ matrix.T + noise_std**2 * identity
        gain = jnp.linalg.solve(evidence, matrix @ covariance).T
        log_evidence = jax.scipy.stats.multivariate_normal.logpdf(c, matrix @ mean, evidence)
        return GaussianMixture(
            log_weight + log_evidence, mean + gain @ (c - matrix @ mean), covariance - gain @ matrix @ covariance
        )

    return jax.vmap(component)(*mixture)


def prior_score(mixture: GaussianMixture, process: Process, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """grad log p(x_t), (n, d), for x_t (n, d) at process times t (n,)."""
    level = process.coefficients(t)

    def one(x: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        return jax.grad(log_density, argnums=1)(noised(mixture, alpha, sigma), x)

    return jax.vmap(one)(x_t, level.alpha, level.sigma)


def likelihood_score(
    mixture: GaussianMixture,
    matrix: jax.Array,
    noise_std: float,
    process: Process,
    x_t: jax.Array,
    t: jax.Array,
    c: jax.Array,
) -> jax.Array:
    """grad log p(c | x_t), (n, d): posterior score minus prior score, for x_t (n, d), t (n,) and c (n, m)."""
    level = process.coefficients(t)

    def one(x: jax.Array, alpha: jax.Array, sigma: jax.Array, observed: jax.Array) -> jax.Array:
        posterior = given_condition(mixture, matrix, noise_std, observed)
        return jax.grad(log_density, argnums=1)(noised(posterior, alpha, sigma), x)

    return jax.vmap(one)(x_t, level.alpha, level.sigma, c) - prior_score(mixture, process, x_t, t)


def score_to_prediction(score: jax.Array, process: Process, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """The prediction whose score at `x_t` is `score`: the inverse of `process.score` (Tweedie's formula), (n, ...).

    Where x_t is noise alone, alpha = 0, every prediction has the same score, and this is no number.
    """
    level = process.coefficients(t).like(x_t)
    noise = -level.sigma * score
    return process.target((x_t - level.sigma * noise) / level.alpha, noise, t)
