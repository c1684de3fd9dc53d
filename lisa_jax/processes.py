"""Noise processes: how data is noised, what the main network predicts, and what that says about scores.

Every process here is a Gaussian perturbation with a prediction that is linear in data and noise,

    x_t        = alpha x0 + sigma noise
    prediction = on_data x0 + on_noise noise

so a process is its time distribution plus those four coefficients of `t`; every other quantity follows by solving the
two equations. With `determinant = alpha on_noise - sigma on_data`,

    x0    = (on_noise x_t - sigma prediction) / determinant
    noise = (alpha prediction - on_data x_t) / determinant
    score = -noise / sigma                                            (Tweedie's formula)

and the likelihood score, a difference of two scores at the same x_t, is `-alpha / (sigma determinant)` times the
difference of the two predictions (LISA, arXiv 2606.27192: the gap `target - prior`).

| process             | alpha, sigma | prediction                                 | likelihood score / gap |
|---------------------|--------------|--------------------------------------------|------------------------|
| diffusion, epsilon  | a, s         | noise                                      | -1/s                   |
| diffusion, v        | a, s         | a noise - s x0                             | -a/s                   |
| rectified flow      | 1-s, s       | noise - x0                                 | -(1-s)/s               |
| EDM, raw output F   | 1, s         | (noise - s x0) / sqrt(s^2+1)               | -1/(s sqrt(s^2+1))     |

Arrays are batch-first: `x0`, `noise`, `x_t`, predictions have shape (n, ...) and `t` has shape (n,). Coefficients are
float32, so lower-precision inputs come back as float32. Processes are frozen dataclasses: hashable, comparable, fit to
be static arguments of `jax.jit`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from reprlib import repr as shown
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

# Largest float32 below one: a CDF that rounds to 1.0 would fall out of the last quantile bin.
_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


class Coefficients(NamedTuple):
    """x_t = alpha x0 + sigma noise, prediction = on_data x0 + on_noise noise; each float32, shape (n,)."""

    alpha: jax.Array
    sigma: jax.Array
    on_data: jax.Array
    on_noise: jax.Array

    @property
    def determinant(self) -> jax.Array:
        return self.alpha * self.on_noise - self.sigma * self.on_data

    def like(self, x: jax.Array) -> "Coefficients":
        """The same coefficients with trailing axes added, to broadcast against `x` of shape (n, ...)."""
        return Coefficients(*(c.reshape(c.shape + (1,) * (x.ndim - c.ndim)) for c in self))


class Process(ABC):
    """A noise process; subclasses give the time distribution and the coefficients, the algebra is shared."""

    @abstractmethod
    def coefficients(self, t: jax.Array) -> Coefficients:
        """The four coefficients at times `t` (n,)."""

    @abstractmethod
    def sample_t(self, key: jax.Array, n: int) -> jax.Array:
        """`n` training times drawn independently, shape (n,)."""

    @abstractmethod
    def quantile(self, t: jax.Array) -> jax.Array:
        """Training CDF at `t`, float32 (n,) in [0, 1): uniform when `t` comes from `sample_t`; larger is noisier."""

    @abstractmethod
    def network_time(self, t: jax.Array) -> jax.Array:
        """What the network's time embedding receives, float32 (n,)."""

    def network_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """What the network receives in place of `x_t` (same shape): `x_t` itself unless the process scales it."""
        return x_t

    def regressed(self, output: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """What the loss compares with `target` of a network's `output` at `x_t`, (n, ...): the output as it is."""
        return output

    def weight(self, t: jax.Array) -> jax.Array:
        """Weight of the main loss by noise level, float32 (n,): ones, since LISA trains every process unweighted."""
        return jnp.ones(t.shape, jnp.float32)

    def perturb(self, x0: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """Noisy sample x_t for data `x0` and standard normal `noise`, all (n, ...)."""
        c = self.coefficients(t).like(x0)
        return c.alpha * x0 + c.sigma * noise

    def target(self, x0: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """Regression target: what a perfect network predicts on average, (n, ...)."""
        c = self.coefficients(t).like(x0)
        return c.on_data * x0 + c.on_noise * noise

    def denoised(self, prediction: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """Estimate of x0 that a prediction at `x_t` implies, (n, ...)."""
        c = self.coefficients(t).like(x_t)
        return (c.on_noise * x_t - c.sigma * prediction) / c.determinant

    def noise_estimate(self, prediction: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """Estimate of the noise that a prediction at `x_t` implies, (n, ...)."""
        c = self.coefficients(t).like(x_t)
        return (c.alpha * prediction - c.on_data * x_t) / c.determinant

    def prediction(self, x0_estimate: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """Prediction that implies `x0_estimate` at `x_t`: the inverse of `denoised`, (n, ...)."""
        c = self.coefficients(t).like(x_t)
        return c.on_data * x0_estimate + c.on_noise * (x_t - c.alpha * x0_estimate) / c.sigma

    def score(self, prediction: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """grad log p(x_t) that a prediction at `x_t` implies, (n, ...)."""
        c = self.coefficients(t).like(x_t)
        return -self.noise_estimate(prediction, x_t, t) / c.sigma

    def likelihood_score(self, gap: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """grad log p(c | x_t) for `gap` = conditional prediction - unconditional prediction at `x_t`, (n, ...).

        The same factor turns the conditional mean of LISA's regression target `target - prior`, hence a trained
        alignment decoder's output, into the likelihood score.
        """
        c = self.coefficients(t).like(x_t)
        return -c.alpha / (c.sigma * c.determinant) * gap


_BETA_SCHEDULES = ("scaled_linear", "linear", "squaredcos_cap_v2")
_PREDICTION_TYPES = ("epsilon", "v_prediction")
# More would be no noise schedule, and its tables no small matter.
MOST_STEPS = 1_000_000


@dataclass(frozen=True)
class Diffusion(Process):
    """Discrete variance-preserving diffusion (DDPM), as Stable Diffusion 1 and 2 are trained.

    `t` is an int32 step in 0..num_train_timesteps-1, uniform in training, and goes to the network as it is.
    alpha^2 is the cumulative product of 1 - beta and alpha^2 + sigma^2 = 1; tables are computed in float64 and stored
    as float32. Fields are named as in diffusers' schedulers; the defaults are Stable Diffusion's.

    With `rescale_betas_zero_snr` (arXiv 2305.08891, algorithm 1) the last step is noise alone, alpha = 0: x_t says
    nothing of the data there, and the likelihood score is 0.

    Raises:
        ValueError: a field that is out of its range or not supported, by name, `rescale_betas_zero_snr` with epsilon,
            or betas that leave no signal at the last step without it.
    """

    num_train_timesteps: int = 1000
    beta_schedule: str | None = "scaled_linear"
    beta_start: float | None = 0.00085  # of no matter to squaredcos_cap_v2, as beta_end
    beta_end: float | None = 0.012
    prediction_type: str = "epsilon"
    trained_betas: tuple[float, ...] | None = None  # in place of the schedule with its start and end
    rescale_betas_zero_snr: bool = False

    def __post_init__(self):
        _check_steps(self.num_train_timesteps)
        if self.prediction_type not in _PREDICTION_TYPES:
            raise ValueError(
                f"prediction_type {shown(self.prediction_type)} is not supported: take a base that was trained with "
                f"{' or '.join(_PREDICTION_TYPES)}."
            )
        if self.trained_betas is not None:
            self._check_trained_betas()
        elif self.beta_schedule not in _BETA_SCHEDULES:
            raise ValueError(
                f"beta_schedule {shown(self.beta_schedule)} is not supported: take a base that was trained with one of "
                f"{', '.join(_BETA_SCHEDULES)}."
            )
        elif self.beta_schedule != "squaredcos_cap_v2":
            self._check_range()
        self._check_last_step()

    def _check_trained_betas(self) -> None:
        betas = self.trained_betas
        if not isinstance(betas, tuple) or len(betas) != self.num_train_timesteps or not all(map(_is_beta, betas)):
            raise ValueError(
                f"trained_betas must be num_train_timesteps={self.num_train_timesteps} numbers above 0 and below 1."
            )

    def _check_range(self) -> None:
        for name in ("beta_start", "beta_end"):
            if not _is_beta(getattr(self, name)):
                raise ValueError(f"{name} is {shown(getattr(self, name))}, but must be a number above 0 and below 1.")
        if self.beta_start > self.beta_end:
            raise ValueError(f"beta_start {self.beta_start} is above beta_end {self.beta_end}: noise must grow.")

    def _check_last_step(self) -> None:
        if type(self.rescale_betas_zero_snr) is not bool:
            raise ValueError(
                f"rescale_betas_zero_snr is {shown(self.rescale_betas_zero_snr)}, but must be true or false."
            )
        if self.rescale_betas_zero_snr and self.prediction_type == "epsilon":
            raise ValueError(
                "rescale_betas_zero_snr is not supported with prediction_type 'epsilon': at the last step, which is "
                "noise alone, epsilon says nothing of the data. Take a base that was trained with v_prediction."
            )
        if self.rescale_betas_zero_snr and self.num_train_timesteps < 2:
            raise ValueError("rescale_betas_zero_snr needs num_train_timesteps of 2 or more.")
        # With zero terminal SNR the last step has none, but the one before it has.
        if not self.alpha_sigma_tables()[0][-2 if self.rescale_betas_zero_snr else -1] > 0:
            largest = self.beta_end if self.trained_betas is None else max(self.trained_betas)
            raise ValueError(f"the betas up to {largest} leave no signal at the last steps.")

    def alpha_sigma_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, sigma) of every step, each float32 (num_train_timesteps,), read-only."""
        return _alpha_sigma_tables(self)

    def coefficients(self, t: jax.Array) -> Coefficients:
        alpha, sigma = (jnp.asarray(table)[t] for table in self.alpha_sigma_tables())
        if self.prediction_type == "epsilon":
            return Coefficients(alpha, sigma, jnp.zeros_like(alpha), jnp.ones_like(alpha))
        return Coefficients(alpha, sigma, -sigma, alpha)

    def sample_t(self, key: jax.Array, n: int) -> jax.Array:
        return jax.random.randint(key, (n,), 0, self.num_train_timesteps, jnp.int32)

    def quantile(self, t: jax.Array) -> jax.Array:
        return t.astype(jnp.float32) / self.num_train_timesteps

    def network_time(self, t: jax.Array) -> jax.Array:
        return t.astype(jnp.float32)


def _is_beta(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1


@lru_cache(maxsize=32)
def _alpha_sigma_tables(process: Diffusion) -> tuple[np.ndarray, np.ndarray]:
    alpha = np.sqrt(np.cumprod(1 - _betas(process)))
    if process.rescale_betas_zero_snr:
        # Moved so that the last is 0, stretched so that the first stays.
        alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    tables = alpha.astype(np.float32), np.sqrt(1 - alpha**2).astype(np.float32)
    for table in tables:
        table.setflags(write=False)
    return tables


def _betas(process: Diffusion) -> np.ndarray:
    """Betas in float64, shape (num_train_timesteps,), of diffusers' schedules of the same names."""
    num_steps, start, end = process.num_train_timesteps, process.beta_start, process.beta_end
    if process.trained_betas is not None:
        return np.array(process.trained_betas, np.float64)
    if process.beta_schedule == "linear":
        return np.linspace(start, end, num_steps)
    if process.beta_schedule == "scaled_linear":
        return np.linspace(math.sqrt(start), math.sqrt(end), num_steps) ** 2
    # squaredcos_cap_v2 (Nichol and Dhariwal, arXiv 2102.09672, eq. 17), capped at 0.999; ignores start and end.
    alpha_bar = np.cos((np.arange(num_steps + 1) / num_steps + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


_TIME_DISTRIBUTIONS = ("logit_normal", "uniform")


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """Rectified flow (SD3, arXiv 2403.03206): x_t on the straight line from data to noise, velocity prediction.

    `t` is sigma in (0, 1], float32. Training draws u logit-normal(logit_mean, logit_std) or uniform, the larger the
    noisier, and shifts it to sigma = shift u / (1 + (shift - 1) u).

    With `num_train_timesteps` sigma is one of so many, those of diffusers' `FlowMatchEulerDiscreteScheduler`: entry
    int(num_train_timesteps (1 - u)) of its descending table, as diffusers' SD3 trainer takes it, and the network sees
    num_train_timesteps sigma. (Its u is our 1 - u: the same distribution at logit_mean 0, that of -logit_mean
    otherwise.) Without, times are continuous, below 1, and the network sees 1000 sigma.

    Raises:
        ValueError: on an unknown `time_distribution`, `shift` or `logit_std` not positive, or `num_train_timesteps` no
            whole number from 1 to `MOST_STEPS`.
    """

    shift: float = 3.0
    time_distribution: str = "logit_normal"
    logit_mean: float = 0.0
    logit_std: float = 1.0
    num_train_timesteps: int | None = None

    def __post_init__(self):
        if self.time_distribution not in _TIME_DISTRIBUTIONS:
            raise ValueError(
                f"time_distribution {self.time_distribution!r} is not supported; use one of {_TIME_DISTRIBUTIONS}."
            )
        for name in ("shift", "logit_std"):
            _check_positive(name, getattr(self, name))
        if self.num_train_timesteps is not None:
            _check_steps(self.num_train_timesteps)

    def sigma_table(self) -> np.ndarray:
        """The sigmas of `num_train_timesteps`, float32, descending from 1, in the scheduler's own arithmetic."""
        steps = self.num_train_timesteps
        return shifted_time(self.shift, np.arange(steps, 0, -1, dtype=np.float32) / np.float32(steps))

    def coefficients(self, t: jax.Array) -> Coefficients:
        return Coefficients(1 - t, t, -jnp.ones_like(t), jnp.ones_like(t))

    def sample_t(self, key: jax.Array, n: int) -> jax.Array:
        # Off the ends by a hair: at sigma 0 the score of a prediction is undefined.
        low, high = (1e-5, 1 - 1e-5) if self.num_train_timesteps is None else (0.0, 1.0)
        if self.time_distribution == "logit_normal":
            logit = self.logit_mean + self.logit_std * jax.random.normal(key, (n,), jnp.float32)
            u, rest = jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)
        else:
            u = jax.random.uniform(key, (n,), jnp.float32, low, high)
            rest = 1 - u
        if self.num_train_timesteps is None:
            return shifted_time(self.shift, u)
        index = (rest * self.num_train_timesteps).astype(jnp.int32)
        return jnp.asarray(self.sigma_table())[jnp.minimum(index, self.num_train_timesteps - 1)]

    def quantile(self, t: jax.Array) -> jax.Array:
        u = t / (self.shift - (self.shift - 1) * t)
        if self.num_train_timesteps is not None:
            # The middle of what becomes this entry of the table.
            u = u - 0.5 / self.num_train_timesteps
        if self.time_distribution == "logit_normal":
            u = norm.cdf((jax.scipy.special.logit(u) - self.logit_mean) / self.logit_std)
        return jnp.clip(u, 0.0, _BELOW_ONE)

    def network_time(self, t: jax.Array) -> jax.Array:
        return float(self.num_train_timesteps or 1000) * t.astype(jnp.float32)


def shifted_time(shift: float, u: Any) -> Any:
    """SD3's shift of times towards noise (arXiv 2403.03206, section 5.3.2), of an array or a number."""
    return shift * u / (1 + (shift - 1) * u)


@dataclass(frozen=True)
class EDM(Process):
    """EDM noise with the raw network output F as prediction (arXiv 2206.00364, sigma_data 1), as SVD is trained.

    `t` is sigma > 0, float32: x_t = x0 + sigma noise and ln sigma is normal(log_mean, log_std) in training. The network
    sees x_t / sqrt(sigma^2 + 1) and 0.25 ln sigma. `denoised` is c_skip x_t + c_out F with c_skip = 1/(sigma^2 + 1) and
    c_out = -sigma/sqrt(sigma^2 + 1); plain MSE on F is the usual loss with weight 1/c_out^2.

    Raises:
        ValueError: if `log_std` is not positive.
    """

    log_mean: float = 0.7
    log_std: float = 1.6

    def __post_init__(self):
        _check_positive("log_std", self.log_std)

    def coefficients(self, t: jax.Array) -> Coefficients:
        c_in = jax.lax.rsqrt(t**2 + 1)
        return Coefficients(jnp.ones_like(t), t, -t * c_in, c_in)

    def sample_t(self, key: jax.Array, n: int) -> jax.Array:
        return jnp.exp(self.log_mean + self.log_std * jax.random.normal(key, (n,), jnp.float32))

    def quantile(self, t: jax.Array) -> jax.Array:
        return jnp.minimum(norm.cdf((jnp.log(t) - self.log_mean) / self.log_std), _BELOW_ONE)

    def network_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        c_in = jax.lax.rsqrt(t**2 + 1)
        return c_in.reshape(c_in.shape + (1,) * (x_t.ndim - 1)) * x_t

    def network_time(self, t: jax.Array) -> jax.Array:
        return 0.25 * jnp.log(t.astype(jnp.float32))


def _check_positive(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {shown(value)}, but must be a number above 0.")


def _check_steps(value: Any) -> None:
    if type(value) is not int or not 1 <= value <= MOST_STEPS:
        raise ValueError(f"num_train_timesteps is {shown(value)}, but must be a whole number from 1 to {MOST_STEPS}.")
