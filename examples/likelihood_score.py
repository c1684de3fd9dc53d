"""LISA's claim, checked where everything is known: a trained alignment decoder is the exact likelihood score.

Data is a Gaussian mixture in the plane and the condition a noisy linear measurement of it, so prior score, posterior
score and likelihood score have closed forms at every noise level. The frozen main network *is* the exact prior; the
side network and the alignment decoder are small MLPs trained with the loss the image models use. The decoder never
sees a likelihood, yet `process.likelihood_score` of its output must be grad log p(c | x_t).

    python examples/likelihood_score.py --out likelihood_score.png

About a minute on two CPU cores. It prints R^2 of learned against exact likelihood score by noise level (quantile of
the training distribution of noise levels) and process; expect 0.97 or more in every cell.

The model here is a handful of pure functions over plain dicts: nothing in LISA needs a neural network library.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from lisa_jax.alignment import Alignment, add_noise, lisa_loss
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput
from lisa_jax.evaluation import gaussian
from lisa_jax.processes import EDM, Diffusion, Process, RectifiedFlow

PROCESSES: Mapping[str, Process] = {
    "diffusion, epsilon": Diffusion(),
    "diffusion, v": Diffusion(prediction_type="v_prediction"),
    "rectified flow": RectifiedFlow(),
    "EDM": EDM(),
}
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)

MIXTURE = gaussian.GaussianMixture(
    log_weights=jnp.log(jnp.array([0.35, 0.25, 0.25, 0.15])),
    means=jnp.array([[-1.2, -0.6], [1.1, -0.9], [0.2, 1.2], [1.3, 0.9]]),
    covariances=jnp.array(
        [
            [[0.15, 0.08], [0.08, 0.20]],
            [[0.20, -0.10], [-0.10, 0.15]],
            [[0.30, 0.00], [0.00, 0.08]],
            [[0.08, 0.00], [0.00, 0.12]],
        ]
    ),
)
MATRIX = jnp.array([[0.8, 0.6]])
NOISE_STD = 0.3
WIDTH = 64
HOOK, CONDITION = "hidden", "measurement"


def exact_prior_model(process: Process) -> DualBranch:
    """A DualBranch on points (n, 2) and measurements (n, 1) whose main network is the exact prior; there is no text.

    The frozen tree is the mixture itself. The residual is added to the prediction, so the trunk is the whole prior.
    """

    def process_time(t: jax.Array) -> jax.Array:
        """Inverse of `process.network_time`."""
        if isinstance(process, Diffusion):
            return jnp.round(t).astype(jnp.int32)
        return t / 1000 if isinstance(process, RectifiedFlow) else jnp.exp(4 * t)

    def trunk(frozen: gaussian.GaussianMixture, network_input: jax.Array, t: jax.Array, context: Any) -> jax.Array:
        time = process_time(t)
        x_t = network_input / process.network_input(jnp.ones_like(network_input), time)
        return gaussian.score_to_prediction(gaussian.prior_score(frozen, process, x_t, time), process, x_t, time)

    def predict(frozen: Any, trunk: jax.Array, residuals: tuple[jax.Array, ...] | None = None) -> jax.Array:
        return trunk if residuals is None else trunk + residuals[0]

    def time_features(t: jax.Array) -> jax.Array:
        level = process.coefficients(process_time(t))
        scale = jnp.sqrt(level.alpha**2 + level.sigma**2)
        return jnp.stack([level.alpha / scale, level.sigma / scale, jnp.log(level.sigma / level.alpha) / 3], axis=1)

    def side(params: Any, trunk: Any, x_t: jax.Array, t: jax.Array, context: Any, condition: jax.Array) -> SideOutput:
        del trunk, context
        feature = mlp(params["trunk"], jnp.concatenate([x_t, condition, time_features(t)], axis=1))
        return SideOutput((dense(params["zero_out"], jax.nn.silu(feature)),), {HOOK: feature})

    def init_side(start: Any, key: jax.Array) -> dict[str, Any]:
        del start
        return {"trunk": init_mlp(key, (6, WIDTH, WIDTH, WIDTH)), "zero_out": zero_dense(WIDTH, 2)}

    def decode(params: Any, feature: jax.Array, t: jax.Array, shape: Sequence[int]) -> jax.Array:
        hidden = mlp(params["trunk"], jnp.concatenate([jax.nn.silu(feature), time_features(t)], axis=1))
        return dense(params["zero_out"], jax.nn.silu(hidden))

    def init_decoder(key: jax.Array, hook: str) -> dict[str, Any]:
        return {"trunk": init_mlp(key, (WIDTH + 3, WIDTH)), "zero_out": zero_dense(WIDTH, 2)}

    def joined(trunk: jax.Array) -> tuple[jax.Array, ...]:
        return (trunk,)

    sides = {CONDITION: SideNetwork(side, init_side, decode, init_decoder, (HOOK,))}
    return DualBranch(trunk, predict, joined, sides)


def dense(params: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def zero_dense(features_in: int, features_out: int) -> dict[str, jax.Array]:
    return {"kernel": jnp.zeros((features_in, features_out)), "bias": jnp.zeros(features_out)}


def init_mlp(key: jax.Array, widths: Sequence[int]) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(key, len(widths) - 1)
    return [
        {"kernel": jax.random.normal(k, (i, o)) * math.sqrt(2 / i), "bias": jnp.zeros(o)}
        for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def mlp(layers: Sequence[Mapping[str, jax.Array]], x: jax.Array) -> jax.Array:
    """SiLU between layers, none after the last."""
    for layer in layers[:-1]:
        x = jax.nn.silu(dense(layer, x))
    return dense(layers[-1], x)


def draw_batch(key: jax.Array, n: int) -> dict[str, jax.Array]:
    """Points of the mixture, `latents` (n, 2), and what a training step reads beside them: their noisy measurement."""
    key_data, key_noise = jax.random.split(key)
    x0 = gaussian.sample(MIXTURE, key_data, n)
    measurement = x0 @ MATRIX.T + NOISE_STD * jax.random.normal(key_noise, (n, 1))
    return {"latents": x0, "context": (), "condition": {CONDITION: measurement}}


@functools.partial(jax.jit, static_argnames=("process", "steps", "batch_size", "lam"))
def train(process: Process, key: jax.Array, *, steps: int = 1500, batch_size: int = 1024, lam: float = 1.0) -> Any:
    """Train side network and decoder on fresh batches; returns {"side": ..., "decoder": ...}."""
    model, align = exact_prior_model(process), Alignment((HOOK,))
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, steps))
    key_init, key_train = jax.random.split(key)
    trainable = model.init_trainable({}, key_init, align.hooks)

    def loss(trainable: Any, inputs: Mapping[str, Any], key: jax.Array) -> jax.Array:
        noisy = add_noise(inputs["latents"], key, process)
        terms, _ = lisa_loss(trainable, MIXTURE, inputs, noisy, model=model, process=process, align=align)
        return terms.total(lam)

    def step(state: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], None]:
        trainable, optimizer_state = state
        key_batch, key_loss = jax.random.split(key)
        gradients = jax.grad(loss)(trainable, draw_batch(key_batch, batch_size), key_loss)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state)
        return (optax.apply_updates(trainable, updates), optimizer_state), None

    keys = jax.random.split(key_train, steps)
    return jax.lax.scan(step, (trainable, optimizer.init(trainable)), keys)[0][0]


def learned_likelihood_score(
    trainable: Any, process: Process, x_t: jax.Array, t: jax.Array, condition: Mapping[str, jax.Array]
) -> jax.Array:
    """grad log p(c | x_t) as the alignment decoder has it, (n, 2)."""
    model = exact_prior_model(process)
    network_input, network_time = process.network_input(x_t, t), process.network_time(t)
    features = model.side(trainable["side"], None, network_input, network_time, (), condition).features
    gap = model.decode(trainable["decoder"][HOOK], features[HOOK], network_time, x_t.shape)
    return process.likelihood_score(gap, x_t, t)


@functools.partial(jax.jit, static_argnames=("process", "n"))
def compare(
    trainable: Any, process: Process, level: float, key: jax.Array, n: int = 4000
) -> tuple[jax.Array, jax.Array]:
    """(exact, learned) likelihood scores, each (n, 2), at fresh points of the noise level with quantile `level`."""
    key_batch, key_noise, key_t = jax.random.split(key, 3)
    batch = draw_batch(key_batch, n)
    times = jnp.sort(process.sample_t(key_t, 20_000))
    t = jnp.broadcast_to(times[(level * times.size).astype(int)], (n,))
    x_t = process.perturb(batch["latents"], jax.random.normal(key_noise, (n, 2)), t)
    measurement = batch["condition"][CONDITION]
    exact = gaussian.likelihood_score(MIXTURE, MATRIX, NOISE_STD, process, x_t, t, measurement)
    return exact, learned_likelihood_score(trainable, process, x_t, t, batch["condition"])


def r_squared(exact: jax.Array, learned: jax.Array) -> float:
    """Share of the exact score's variance that the learned one explains; 1 is perfect, 0 is its mean."""
    return float(1 - jnp.sum((exact - learned) ** 2) / jnp.sum((exact - exact.mean(0)) ** 2))


def plot(comparisons: Mapping[str, Sequence[tuple[jax.Array, jax.Array]]], path: str) -> None:
    """Scatter of learned against exact score components: a row a process, a column a noise level."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, columns = len(comparisons), len(LEVELS)
    figure, axes = plt.subplots(rows, columns, figsize=(2.5 * columns, 2.6 * rows), squeeze=False)
    for row, (name, pairs) in zip(axes, comparisons.items(), strict=True):
        for axis, level, (exact, learned) in zip(row, LEVELS, pairs, strict=True):
            for component, colour in ((0, "tab:blue"), (1, "tab:orange")):
                axis.plot(exact[:1000, component], learned[:1000, component], ".", ms=2, alpha=0.5, color=colour)
            ends = np.percentile(exact, [0.2, 99.8])
            axis.plot(ends, ends, "k-", lw=0.8)
            axis.set(xlim=ends, ylim=ends, title=f"quantile {level}, $R^2$ {r_squared(exact, learned):.3f}")
            axis.title.set_size(9)
            axis.locator_params(nbins=4)
            axis.tick_params(labelsize=7)
        row[0].set_ylabel(f"{name}\nlearned")
    for axis in axes[-1]:
        axis.set_xlabel("exact")
    figure.suptitle("Likelihood score: alignment decoder against closed form")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError("This example takes no positional arguments.")
    print("R^2 by quantile of noise" + "".join(f"{level:>8}" for level in LEVELS))
    comparisons = {}
    for name, process in PROCESSES.items():
        trainable = train(process, jax.random.key(0))
        comparisons[name] = [compare(trainable, process, level, jax.random.key(1)) for level in LEVELS]
        print(f"{name:<24}" + "".join(f"{r_squared(*pair):8.3f}" for pair in comparisons[name]), flush=True)
    plot(comparisons, flags.FLAGS.out)
    print(f"wrote {flags.FLAGS.out}")


if __name__ == "__main__":
    flags.DEFINE_string("out", "likelihood_score.png", "Where to write the plot.")
    app.run(main)
