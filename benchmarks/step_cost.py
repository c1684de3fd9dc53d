"""What the alignment loss costs: FLOPs and time of a training step, plain against LISA, in one run.

    python benchmarks/step_cost.py --config=configs/openmoji_lineart.py

FLOPs are XLA's count of the compiled steps. The prediction is XLA's count of what LISA adds when the trunk is shared:
one more pass of the main network after its trunk, and the decoder's forward and backward pass. Times are taken in turn,
plain and LISA, so that a noisy machine disturbs both alike.
"""

import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax.alignment import lisa_loss
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.base import load_family
from lisa_jax.families.family import Family
from lisa_jax.metrics import LossMetrics
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import make_train_step

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed steps of each kind.", lower_bound=1)


def example_batch(config: ConfigDict, family: Family) -> dict[str, jax.Array]:
    """A batch of the config's sizes, of noise."""
    size, count = config.data.image_size, config.batch_size
    latents_key, condition_key = jax.random.split(jax.random.key(0))
    context = family.encode_text([""] * count)
    return {
        "latents": jax.random.normal(latents_key, (count, *family.latents.shape(size, size))),
        "context": jnp.asarray(context),
        "condition": jax.random.uniform(condition_key, (count, size, size, 3)),
    }


def compiled_step(config: ConfigDict, family: Family, batch: dict[str, jax.Array], lam: float):
    """The compiled training step and its first state; no alignment at all where lam is 0."""
    hook = config.lisa.hook if lam else None
    optimizer = make_optimizer(config.optimizer, learning_rate_schedule(config.optimizer, config.num_steps))

    def loss(params, frozen, batch, key, step) -> tuple[jax.Array, LossMetrics]:
        del step
        return lisa_loss(params, frozen, batch, key, model=family.model, process=family.process, lam=lam, hook=hook)

    initialise = state_initialiser(
        lambda key: family.model.init_trainable(family.frozen, key, hook), optimizer, ema=False
    )
    state: TrainState = jax.jit(initialise)(jax.random.key(0))
    step = jax.jit(make_train_step(loss, optimizer), donate_argnums=0)
    return step.lower(state, family.frozen, batch, jax.random.key(0)).compile(), state


def predicted_extra(config: ConfigDict, family: Family, batch: dict[str, jax.Array]) -> float:
    """FLOPs that LISA adds to a plain step with a shared trunk."""
    model, hook = family.model, config.lisa.hook
    t = jnp.zeros((config.batch_size,))
    params = jax.jit(partial(model.init_trainable, hook=hook))(family.frozen, jax.random.key(0))
    trunk = jax.jit(model.trunk)(family.frozen, batch["latents"], t, batch["context"])
    _, features = jax.jit(model.side)(params["side"], batch["latents"], t, batch["context"], batch["condition"])

    def decoder_loss(decoder, feature):
        return jnp.mean(jnp.square(model.decode(decoder, feature, t, batch["latents"].shape) - batch["latents"]))

    prior = jax.jit(model.predict).lower(family.frozen, trunk).compile()
    decoder = jax.jit(jax.grad(decoder_loss, (0, 1))).lower(params["decoder"], features[hook]).compile()
    return flops(prior) + flops(decoder)


def flops(compiled: jax.stages.Compiled) -> float:
    """XLA's count for one call."""
    return compiled.cost_analysis()["flops"]


def main() -> None:
    config = _CONFIG.value
    family = load_family(config)
    batch = example_batch(config, family)
    steps, states = {}, {}
    for name, lam in (("plain", 0), ("lisa", config.lisa.lam)):
        steps[name], states[name] = compiled_step(config, family, batch, lam)
    count = {name: flops(step) for name, step in steps.items()}
    prediction = 1 + predicted_extra(config, family, batch) / count["plain"]

    times = {name: [] for name in steps}
    for repeat in range(_REPEATS.value + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            states[name], _ = jax.block_until_ready(step(states[name], family.frozen, batch, jax.random.key(0)))
            if repeat >= 2:
                times[name].append(time.perf_counter() - start)
    for name in steps:
        per_image = count[name] / config.batch_size / 1e9
        print(f"{name:<6} {per_image:8.3f} GFLOP/image  {1e3 * statistics.median(times[name]):8.1f} ms/step (median)")
    pairs = [lisa / plain for lisa, plain in zip(times["lisa"], times["plain"], strict=True)]
    print(f"FLOPs: LISA / plain {count['lisa'] / count['plain']:.4f}, predicted from the shared trunk {prediction:.4f}")
    print(f"time:  LISA / plain {statistics.median(pairs):.3f} (median of {len(pairs)} pairs)")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    run_command(main)
