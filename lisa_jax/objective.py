"""What the main loss compares, and how it weighs noise levels: a noise process as a loss sees it.

Of what a network says of x_t, the loss compares

    network   its output, with the noise process's target: the usual form
    x0        the estimate of the data that the output implies, with the data

The gap, LISA's target, is `target - prior` of what is compared. In x0 space it is -sigma / determinant times that of
the outputs (of a rectified flow -sigma times the velocity gap), and grad log p(c | x_t) is alpha / sigma^2 times it for
every process: there the process is one whose prediction is x0 itself, so that all of `Process` holds. Samplers go on
with the network's output and the noise process.

The main loss of an example is weighed by its noise level, x_t = a x0 + s noise:

| weighting    | noise process  | weight                                                                               |
|--------------|----------------|--------------------------------------------------------------------------------------|
| `uniform`    | any            | 1                                                                                    |
| `min_snr`    | diffusion      | with snr = a^2 / s^2 and its bound gamma: epsilon min(snr, gamma) / snr,             |
|              |                | v min(snr, gamma) / (snr + 1), in x0 space min(snr, gamma) (arXiv 2303.09556)        |
| `sigma_sqrt` | rectified flow | s^-2: in x0 space the plain loss of the velocity                                     |
| `cosmap`     | rectified flow | 2 / (pi (1 - 2 s + 2 s^2)) (arXiv 2403.03206)                                        |

The last two and x0 space are the `weighting_scheme` and the `precondition_outputs` of diffusers' trainer for Stable
Diffusion 3. The alignment term is not weighed so: it has weightings of its own, see `lisa_jax.weighting`.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from lisa_jax.processes import Coefficients, Diffusion, Process, RectifiedFlow
from lisa_jax.weighting import UNIFORM

NETWORK, X0 = SPACES = ("network", "x0")


def _uniform(objective: "Objective", t: jax.Array) -> jax.Array:
    return objective.process.weight(t)


def _min_snr(objective: "Objective", t: jax.Array) -> jax.Array:
    c = objective.coefficients(t)
    # An error of what is compared is this factor smaller or larger than that of the x0 which it implies.
    of_x0 = jnp.square(c.sigma / c.determinant)
    return jnp.minimum(jnp.square(c.alpha / c.sigma), objective.min_snr_gamma) * of_x0


def _sigma_sqrt(objective: "Objective", t: jax.Array) -> jax.Array:
    return objective.coefficients(t).sigma ** -2.0


def _cosmap(objective: "Objective", t: jax.Array) -> jax.Array:
    sigma = objective.coefficients(t).sigma
    return 2 / (math.pi * (1 - 2 * sigma + 2 * sigma**2))


# Weighting -> the noise processes that it is of, and the weight.
_WEIGHTINGS: dict[str, tuple[type[Process], Callable[["Objective", jax.Array], jax.Array]]] = {
    UNIFORM: (Process, _uniform),
    "min_snr": (Diffusion, _min_snr),
    "sigma_sqrt": (RectifiedFlow, _sigma_sqrt),
    "cosmap": (RectifiedFlow, _cosmap),
}
LOSS_WEIGHTINGS = tuple(_WEIGHTINGS)
USUAL_TIMES, UNIFORM_TIMES = LOSS_TIMES = ("usual", "uniform")


def with_times(process: Process, times: str) -> Process:
    """A noise process that draws its noise levels as the field `loss.times` says, one of `LOSS_TIMES`.

    Raises:
      ValueError: uniform ones of a process that is no rectified flow.
    """
    if times == USUAL_TIMES:
        return process
    if not isinstance(process, RectifiedFlow):
        raise ValueError(
            f"loss.times '{times}' is of rectified flows, and this base's noise process is {type(process).__name__}: "
            f"leave it '{USUAL_TIMES}'."
        )
    return dataclasses.replace(process, time_distribution=times)


@dataclass(frozen=True)
class Objective(Process):
    """A noise process whose loss is in a space and weighed as said above; with the usual fields, that process's own.

    Attributes:
        process: the noise process that the network was trained with.
        space: "network" or "x0".
        weighting: of the main loss by noise level, one of `LOSS_WEIGHTINGS`.
        min_snr_gamma: the bound on the signal-to-noise ratio in `min_snr`; 5 is the paper's.

    Raises:
        ValueError: an unknown space, a weighting that does not exist or fit the noise process, with those that do, or
            `min_snr_gamma` not positive.
    """

    process: Process
    space: str = NETWORK
    weighting: str = UNIFORM
    min_snr_gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ValueError(f"loss.space is '{self.space}', but must be {' or '.join(SPACES)}.")
        fitting = [name for name, (kind, _) in _WEIGHTINGS.items() if isinstance(self.process, kind)]
        if self.weighting not in fitting:
            raise ValueError(
                f"loss.weighting '{self.weighting}' does not fit the noise process {type(self.process).__name__}: use "
                f"{' or '.join(fitting)}."
            )
        if not 0 < self.min_snr_gamma < math.inf:
            raise ValueError(f"loss.min_snr_gamma is {self.min_snr_gamma}, but must be a number above 0.")

    def coefficients(self, t: jax.Array) -> Coefficients:
        c = self.process.coefficients(t)
        if self.space == NETWORK:
            return c
        return c._replace(on_data=jnp.ones_like(c.alpha), on_noise=jnp.zeros_like(c.alpha))

    def sample_t(self, key: jax.Array, n: int) -> jax.Array:
        return self.process.sample_t(key, n)

    def quantile(self, t: jax.Array) -> jax.Array:
        return self.process.quantile(t)

    def network_time(self, t: jax.Array) -> jax.Array:
        return self.process.network_time(t)

    def network_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return self.process.network_input(x_t, t)

    def regressed(self, output: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return output if self.space == NETWORK else self.process.denoised(output, x_t, t)

    def weight(self, t: jax.Array) -> jax.Array:
        return _WEIGHTINGS[self.weighting][1](self, t)
