"""What the alignment loss costs: FLOPs and time of a training step, plain against LISA, in one run.

    python benchmarks/step_cost.py --config=configs/openmoji_lineart.py

FLOPs are XLA's count of the compiled steps. The prediction is XLA's count of what LISA adds when the trunk is shared:
one more pass of the main network after its trunk, and the decoder's forward and backward pass. Times are taken in turn,
plain and LISA, so that a noisy machine disturbs both alike.
"""

import statistics
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax.alignment import Alignment, add_noise, lisa_loss
from lisa_jax.commands._run import run_command
from lisa_jax.dual_branch import Tree
from lisa_jax.experiments.base import load_base
from lisa_jax.experiments.control import alignment_of, objective_of
from lisa_jax.families.family import Family
from lisa_jax.metrics import LossMetrics
from lisa_jax.training.learning_rate import learning_rate_schedule
from lisa_jax.training.optimizer import make_optimizer
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import make_train_step

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed steps of each kind.", lower_bound=1)


def example_inputs(config: ConfigDict, family: Family) -> dict[str, Tree]:
    """What the loss of a batch of the config's sizes reads, of noise."""
    size, count = (config.data.image_size,) * 2, config.batch_size
    latents_key, condition_key = jax.random.split(jax.random.key(0))
    condition = jax.random.uniform(condition_key, (count, *size, 3))
    return {
        "latents": jax.random.normal(latents_key, (count, *family.latents.shape(*size))),
        "context": jax.tree.map(jnp.asarray, family.conditioner.contexts([{"caption": ""}] * count)),
        "condition": dict.fromkeys(family.model.sides, condition),
    }


def compiled_step(config: ConfigDict, family: Family, inputs: dict[str, Tree], align: Alignment | None):
    """The compiled training step and its first state."""
    hooks = () if align is None else align.hooks
    objective = objective_of(config, family.process)
    optimizer = make_optimizer(config.optimizer, learning_rate_schedule(config.optimizer, config.num_steps))

    def loss(params, frozen, inputs, *, key, step) -> tuple[jax.Array, LossMetrics]:
        noisy = add_noise(inputs["latents"], key, objective)
        terms, found = lisa_loss(
            params, frozen, inputs, noisy, model=family.model, process=objective, align=align, step=step
        )
        return terms.total(config.lisa.lam), found

    start = family.read_start()
    initialise = state_initialiser(lambda key: family.model.init_trainable(start, key, hooks), optimizer, ema=False)
    state: TrainState = jax.jit(initialise)(jax.random.key(0))
    step = jax.jit(make_train_step(loss, optimizer), donate_argnums=0)
    return step.lower(state, family.frozen, inputs, jax.random.key(0)).compile(), state


def predicted_extra(family: Family, inputs: dict[str, Tree], align: Alignment) -> float:
    """FLOPs that LISA adds to a plain step with a shared trunk."""
    model, latents, context = family.model, inputs["latents"], inputs["context"]
    t = jnp.zeros((len(latents),))
    params = jax.jit(partial(model.init_trainable, hooks=align.hooks))({}, jax.random.key(0))
    trunk = jax.jit(model.trunk)(family.frozen, latents, t, context)
    _, features = jax.jit(model.side)(params["side"], trunk, latents, t, context, inputs["condition"])

    def decoder_loss(decoder, features):
        aligned = (model.decode(decoder[hook], features[hook], t, latents.shape) for hook in align.hooks)
        return sum(jnp.mean(jnp.square(estimate - latents)) for estimate in aligned)

    prior = jax.jit(model.predict).lower(family.frozen, trunk).compile()
    decoder = jax.jit(jax.grad(decoder_loss, (0, 1))).lower(params["decoder"], features).compile()
    return flops(prior) + flops(decoder)


def flops(compiled: jax.stages.Compiled) -> float:
    """XLA's count for one call."""
    return compiled.cost_analysis()["flops"]


def main() -> None:
    config = _CONFIG.value
    family = load_base(config)
    align = alignment_of(config, family.model)
    if align is None:
        sys.exit("error: config.lisa.lam is 0, so there is no alignment loss to count: set it.")
    inputs = example_inputs(config, family)
    steps, states = {}, {}
    for name, aligned in (("plain", None), ("lisa", align)):
        steps[name], states[name] = compiled_step(config, family, inputs, aligned)
    count = {name: flops(step) for name, step in steps.items()}
    prediction = 1 + predicted_extra(family, inputs, align) / count["plain"]

    times = {name: [] for name in steps}
    for repeat in range(_REPEATS.value + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            states[name], _ = jax.block_until_ready(step(states[name], family.frozen, inputs, jax.random.key(0)))
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
