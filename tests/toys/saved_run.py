"""A run that nobody trained: the work directory that training would leave, of parameters that are given."""

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.experiments.base import load_base
from lisa_jax.experiments.control import control_experiment
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.program import make_program
from lisa_jax.training.tracking import CONFIG_FILE


def save_run(workdir, config, params_at, scores_at=None):
    """Write the config and a checkpoint for each step of params_at, with its scores, where there are some.

    Args:
      params_at: step -> (shapes of what trains) -> that.
      scores_at: step -> name -> score.
    """
    experiment = control_experiment(config, load_base(config), {}, empty=None)
    shapes = make_program(experiment, config, make_mesh(devices=jax.devices()[:1])).state
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    with Checkpoints(workdir, len(params_at), experiment.identity, keep_best=config.keep_best) as checkpoints:
        for step, make in params_at.items():
            params = jax.tree.map(jnp.asarray, make(shapes.params))
            state = zeros._replace(step=jnp.int32(step), params=params, ema=None if zeros.ema is None else params)
            checkpoints.save(state, step, (scores_at or {}).get(step))
    (workdir / CONFIG_FILE).write_text(config.to_json_best_effort())


def random_params(shapes):
    """Normal numbers of standard deviation 0.1, leaves shaped as the shapes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
