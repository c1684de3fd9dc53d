"""An experiment: a linear map learns another, frozen one. Also runs as a command."""

import argparse
import dataclasses
import logging
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from lisa_jax.metrics import LossMetrics, means_by_quartile
from lisa_jax.training.experiment import Evaluation, Experiment, Report

WIDTH = 4
SEED = 3


def config(**overrides):
    fields = {
        "seed": SEED,
        "num_steps": 8,
        "batch_size": 8,
        "accumulate": 1,
        "ema_decay": 0.9,
        "mesh": {"data": -1, "fsdp": 1, "tensor": 1, "split_frozen": False},
        "log_every": 2,
        "save_every": 2,
        "keep": 3,
        "trackers": ("tensorboard",),
        "optimizer": {
            "name": "adamw",
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "warmup_steps": 2,
            "b1": 0.9,
            "b2": 0.99,
            "eps": 1e-8,
            "weight_decay": 1e-2,
            "clip_norm": 1.0,
        },
    }
    made = ConfigDict(fields)
    made.update(overrides)
    return made


@dataclasses.dataclass(frozen=True)
class Batches:
    """Normal rows by (seed, step); `before_step(step)` runs first, to make trouble."""

    before_step: object = None
    batch_size: int = 8

    def iterate(self, start_step):
        step = start_step
        rows = self.batch_size // jax.process_count()
        block = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
        while True:
            batch = np.random.default_rng((SEED, step)).normal(size=(self.batch_size, WIDTH)).astype(np.float32)
            if self.before_step:
                batch = self.before_step(step, batch)
            yield {"inputs": {"x": batch[block]}}
            step += 1


def loss(params, frozen, inputs, *, key, step):
    x = inputs["x"]
    t = jax.random.uniform(key, (x.shape[0],))
    target = x @ frozen["map"]
    error = jnp.mean(jnp.square((x + 0.1 * t[:, None]) @ params["side"]["map"] - target), axis=-1)
    means = means_by_quartile(t, main_loss=error, target_power=jnp.mean(jnp.square(target), axis=-1))
    return jnp.mean(error), LossMetrics(means, t, error)


def experiment(before_step=None, loss_fn=loss, evaluate=None, identity=None, width=WIDTH):
    """Values that every process computes alike."""

    def init(start, key):
        return {"side": {"map": jax.random.normal(key, (width, WIDTH))}}

    return Experiment(
        frozen={"map": np.eye(WIDTH, dtype=np.float32)[::-1]},
        init=init,
        loss_at=lambda step: loss_fn,
        batches=Batches(before_step),
        evaluations=(Evaluation(4, evaluate or (lambda params, frozen: Report({"validation/loss": 1.0}))),),
        identity=identity or {"base": "abc", "seed": SEED, "batch_size": 8, "hook": "mid"},
    )


if __name__ == "__main__":
    from lisa_jax.parallel import stop_signals
    from lisa_jax.parallel.cluster import LostProcessError, join_processes, leave
    from lisa_jax.training.loop import fit
    from lisa_jax.training.work_directory import claimed

    parser = argparse.ArgumentParser()
    parser.add_argument("workdir")
    parser.add_argument("--num_steps", type=int, default=8)
    parser.add_argument("--save_every", type=int)
    parser.add_argument("--seconds_per_step", type=float, default=0.0)
    parser.add_argument("--fail_at", type=int, default=-1, help="The last process fails at this step.")
    parser.add_argument("--fsdp", type=int, default=1)
    parser.add_argument("--tensor", type=int, default=1)
    flags = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    stop_signals.catch()
    join_processes(os.environ.get("LISA_JAX_PROCESSES", ""))

    def slowly(step, batch):
        time.sleep(flags.seconds_per_step)
        if step == flags.fail_at and jax.process_index() == jax.process_count() - 1:
            raise ValueError(f"The batch of step {step} is damaged.")
        return batch

    settings = config(num_steps=flags.num_steps, save_every=flags.save_every or flags.num_steps, log_every=1)
    settings.optimizer.schedule = "constant"
    settings.mesh.update(fsdp=flags.fsdp, tensor=flags.tensor)
    split = dataclasses.replace(experiment(slowly), rules=((r"map$", PartitionSpec("fsdp", "tensor")),))
    try:
        with claimed(flags.workdir):
            done = int(fit(split, settings, flags.workdir).step)
    except (LostProcessError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        leave(error)
    sys.exit(stop_signals.STOPPED_EARLY if done < flags.num_steps else 0)
