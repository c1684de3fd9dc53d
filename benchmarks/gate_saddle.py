"""The saddle from which control starts, in a model small enough to see through: docs/why_controlnets_wait.md.

    python benchmarks/gate_saddle.py

A copied layer reads noise x; the condition c enters it through E, and its features leave through Z, both zero at birth:

    residual = tanh(x U + c E) Z,    target = c W + noise,    loss = mean (residual - target)^2

Adam trains E and Z. Printed is the step at which a tenth of c W is explained, of four seeds, for other learning rates,
batches and noise, for E born as PyTorch's default, and with LISA, whose decoder D, zero too, reads the same features.
Some four minutes on one CPU core.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lisa_jax.studies.markdown import table

NOISE_WIDTH, CONDITION_WIDTH, FEATURES, TARGETS = 16, 16, 64, 16
EXPLAINED = 0.1
SEEDS = 4


@dataclasses.dataclass(frozen=True)
class Setting:
    """One line of the table.

    Attributes:
      rate: Adam's learning rate; of E, Z and D times the factors below.
      rate_e, rate_z, rate_d: those factors.
      batch: examples a step.
      noise: of the target, over the size of what the condition tells of it.
      birth: of E, over PyTorch's default.
      lam: weight of the alignment loss.
      steps: length of the run.
    """

    rate: float = 1e-3
    rate_e: float = 1.0
    rate_z: float = 1.0
    rate_d: float = 1.0
    batch: int = 16
    noise: float = 3.0
    birth: float = 0.0
    lam: float = 0.0
    steps: int = 2000


SETTINGS = {
    "as it is: 1e-3, batch 16, noise 3": Setting(),
    "learning rate 3e-4": Setting(rate=3e-4),
    "learning rate 3e-3": Setting(rate=3e-3),
    "Z alone at 10 times the rate": Setting(rate_z=10.0),
    "E alone at 10 times the rate": Setting(rate_e=10.0),
    "both at 10 times the rate": Setting(rate_e=10.0, rate_z=10.0),
    "batch 4": Setting(batch=4),
    "batch 64": Setting(batch=64),
    "batch 256": Setting(batch=256),
    "noise 1": Setting(noise=1.0),
    "noise 10": Setting(noise=10.0),
    "E born as PyTorch's default": Setting(birth=1.0),
    "LISA .2": Setting(lam=0.2),
    "LISA 1": Setting(lam=1.0),
    "LISA .2, decoder at 10 times the rate": Setting(lam=0.2, rate_d=10.0),
}


def explained(setting: Setting, key: jax.Array) -> jax.Array:
    """Share of c W that the residual explains after each step, (steps,)."""
    keys = jax.random.split(key, 5)
    u = jax.random.normal(keys[0], (NOISE_WIDTH, FEATURES)) / np.sqrt(NOISE_WIDTH)
    w = jax.random.normal(keys[1], (CONDITION_WIDTH, TARGETS)) / np.sqrt(CONDITION_WIDTH)
    e = jax.random.uniform(keys[2], (CONDITION_WIDTH, FEATURES), minval=-1, maxval=1) / np.sqrt(CONDITION_WIDTH)
    params = {"e": setting.birth * e, "z": jnp.zeros((FEATURES, TARGETS)), "d": jnp.zeros((FEATURES, TARGETS))}
    rates = {name: -setting.rate * getattr(setting, f"rate_{name}") for name in params}
    adam = optax.scale_by_adam()

    def features(params, x, c):
        return jnp.tanh(x @ u + c @ params["e"])

    def loss(params, x, c, target):
        seen = features(params, x, c)
        of_residual, of_decoder = (jnp.mean(jnp.square(seen @ params[name] - target)) for name in ("z", "d"))
        return of_residual + setting.lam * of_decoder

    def draw(key, count):
        keys = jax.random.split(key, 3)
        x, c = jax.random.normal(keys[0], (count, NOISE_WIDTH)), jax.random.normal(keys[1], (count, CONDITION_WIDTH))
        return x, c, c @ w + setting.noise * jax.random.normal(keys[2], (count, TARGETS))

    x_test, c_test, _ = draw(keys[3], 2048)

    def share(params):
        # What of the residual comes of the condition.
        controlled = (features(params, x_test, c_test) - features(params, x_test, 0 * c_test)) @ params["z"]
        return 1 - jnp.mean(jnp.square(controlled - c_test @ w)) / jnp.mean(jnp.square(c_test @ w))

    def step(carry, number):
        params, state = carry
        gradient = jax.grad(loss)(params, *draw(jax.random.fold_in(keys[4], number), setting.batch))
        update, state = adam.update(gradient, state)
        params = jax.tree.map(lambda leaf, change, rate: leaf + rate * change, params, update, rates)
        return (params, state), share(params)

    return jax.lax.scan(step, (params, adam.init(params)), jnp.arange(setting.steps))[1]


def steps_needed(setting: Setting) -> np.ndarray:
    """The first step with `EXPLAINED`, of each seed."""
    shares = jax.jit(jax.vmap(lambda key: explained(setting, key)))(jax.random.split(jax.random.key(0), SEEDS))
    reached = np.asarray(shares) >= EXPLAINED
    if not reached.any(axis=1).all():
        raise ValueError(f"{setting} does not get to {EXPLAINED} in {setting.steps} steps.")
    return reached.argmax(axis=1) + 1


def main() -> None:
    """Print the table."""
    rows = {name: steps_needed(setting) for name, setting in SETTINGS.items()}
    usual = next(iter(rows.values())).mean()
    print(
        table(
            ("setting", "steps", "as it is over that"),
            (
                (name, f"{found.mean():.0f} ± {found.std(ddof=1):.0f}", f"{usual / found.mean():.2f}")
                for name, found in rows.items()
            ),
        )
    )


if __name__ == "__main__":
    main()
