"""Train a small main network from scratch, with the loop that trains side networks.

    python -m lisa_jax pretrain --config=configs/openmoji_base.py --workdir=DIR [--config.field=value]

Writes the base to DIR/base.
"""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax.alignment import main_loss
from lisa_jax.commands._run import run_command
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.experiments.splits import Split, load_split, training_batches
from lisa_jax.families.family import Family
from lisa_jax.families.new_stable_diffusion import write_new_stable_diffusion
from lisa_jax.families.stable_diffusion import load_stable_diffusion
from lisa_jax.parallel.cluster import STOPPED_EARLY
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.grid import labelled_grid
from lisa_jax.training.experiment import Evaluation, Experiment, Report
from lisa_jax.training.loop import fit

_LOG = logging.getLogger("lisa_jax")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and the base go.")


def pretraining(config: ConfigDict, family: Family) -> Experiment:
    """The experiment whose trainable tree is the main network."""
    train, test = load_split(config, family, "train"), load_split(config, family, "test")
    inputs_of = partial(
        model_inputs, latents=family.latents, text=family.encode_text, null_context=jnp.asarray(train.null_context)
    )

    def loss(params, frozen, batch, key, step):
        del step
        input_key, noise_key = jax.random.split(key)
        inputs = inputs_of(batch, input_key, frozen, caption_dropout=config.caption_dropout)
        return main_loss(params["main"], inputs, noise_key, model=family.model, process=family.process)

    return Experiment(
        frozen={"latents": family.latents.params},
        load_start=lambda: family.frozen,
        init=lambda start, key: {"main": start},
        loss_at=lambda step: loss,
        batches=training_batches(config, train),
        evaluations=(Evaluation(config.eval_every, _previews(config, family, test)),),
        identity={
            "seed": config.seed,
            "batch_size": config.batch_size,
            "accumulate": config.accumulate,
            "data": config.data.to_dict(),
            "ema_decay": config.ema_decay,
            "start": family.fingerprint,
        },
    )


def _previews(config: ConfigDict, family: Family, test: Split) -> Callable[[Params, Params], Report]:
    generate = make_generator(
        family, num_steps=config.sampling.num_steps, guidance_scale=config.sampling.guidance_scale
    )
    batch = next(test.ordered_batches(config.sampling.count))
    context, reference = test.contexts(batch), test.references(batch)

    def run(params, frozen) -> Report:
        samples = generate(params["main"], frozen["latents"], None, context, reference, batch["index"])
        grid = labelled_grid({"sample": samples, "same caption": reference}, cell=96, blocks=4)
        return Report(images={"samples": grid})

    return run


def main() -> None:
    config, workdir = _CONFIG.value, Path(_WORKDIR.value)
    if jax.process_count() > 1:
        raise ValueError("pretrain runs in one process, on all of its devices: unset LISA_JAX_PROCESSES.")
    new_base = workdir / "new_base"
    if not new_base.exists():
        train = load_embedded(config.data.name, config.data.image_size, "train")
        # Renamed when whole, so that a killed start leaves no half of a base.
        partial = workdir / "new_base.partial"
        write_new_stable_diffusion(partial, config, [train[index]["caption"] for index in range(len(train))])
        partial.rename(new_base)
    family = load_stable_diffusion(new_base, frozen_dtype="float32", compute_dtype=config.compute_dtype)
    state = fit(pretraining(config, family), config, workdir)
    if int(state.step) < config.num_steps:
        sys.exit(STOPPED_EARLY)
    # Half the size, and as exact as the frozen weights need to be.
    main_params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), state.eval_params["main"])
    family.write_main(workdir / "base", main_params)
    _LOG.info("The base is in %s.", workdir / "base")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main)
