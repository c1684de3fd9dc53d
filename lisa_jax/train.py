"""Train a side network beside a frozen main network.

    python -m lisa_jax.train --config=configs/openmoji_lineart.py --workdir=DIR [--config.field=value]

The same command continues an interrupted run from its newest checkpoint.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax import metrics
from lisa_jax.alignment import lisa_loss
from lisa_jax.dual_branch import Params
from lisa_jax.families.family import Family
from lisa_jax.run import (
    Split,
    identity,
    lam_schedule,
    load_family,
    load_split,
    run_command,
    trainable_init,
    training_batches,
    used_hook,
)
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.grid import labelled_grid
from lisa_jax.training.experiment import Evaluation, Experiment, LossFn, Report
from lisa_jax.training.inputs import model_inputs
from lisa_jax.training.loop import fit

_LOG = logging.getLogger("lisa_jax")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and previews go.")

# Fixed, for the noise of an example depends on its place: runs of any batch size compare.
VALIDATION_BATCH_SIZE = 16


def control_experiment(config: ConfigDict, family: Family) -> Experiment:
    """The experiment whose trainable tree is the side network and the alignment decoder.

    Raises:
      ValueError: a hook that the side network does not have, or a lam schedule that does not exist.
    """
    lam, hook = lam_schedule(config), used_hook(config, family)
    train, test = load_split(config, family, "train"), load_split(config, family, "test")
    null_context = jnp.asarray(family.encode_text([""]))
    encode = partial(model_inputs, encode=family.latents.encode, null_context=null_context)

    def loss(params, frozen, batch, key, step, aligns: bool, caption_dropout: float = config.caption_dropout):
        input_key, noise_key = jax.random.split(key)
        inputs = encode(batch, input_key, caption_dropout=caption_dropout)
        weight = lam(step) if aligns else 0
        return lisa_loss(
            params, frozen, inputs, noise_key, model=family.model, process=family.process, lam=weight, hook=hook
        )

    aligned, plain = partial(loss, aligns=True), partial(loss, aligns=False)
    validated = partial(loss, aligns=False, caption_dropout=0.0)
    return Experiment(
        frozen=family.frozen,
        init=trainable_init(config, family),
        loss_at=lambda step: aligned if lam.aligns(step) else plain,
        batches=training_batches(config, train, config.data.condition),
        evaluations=(
            Evaluation(config.eval_every, _validation(config, test, validated)),
            Evaluation(config.preview_every, _previews(config, family, test)),
        ),
        identity=identity(config, family),
    )


def _validation(config: ConfigDict, test: Split, loss: LossFn) -> Callable[[Params, Params], Report]:
    """Main loss on the test split, always under the same noise, so that runs and steps compare example by example."""
    evaluate = jax.jit(lambda params, frozen, batch, key: loss(params, frozen, batch, key, 0)[1].means)

    def run(params: Params, frozen: Params) -> Report:
        total: dict[str, metrics.Mean] = {}
        for index, batch in enumerate(test.ordered_batches(config.data.condition, VALIDATION_BATCH_SIZE)):
            arrays = {name: batch[name] for name in ("image", "context", "condition")}
            total = metrics.add(total, evaluate(params, frozen, arrays, jax.random.fold_in(jax.random.key(0), index)))
        return Report({f"validation/{name}": value for name, value in metrics.summarise(total).items()})

    return run


def _previews(config: ConfigDict, family: Family, test: Split) -> Callable[[Params, Params], Report]:
    """Samples for the first test examples from noise that never changes."""
    generate = make_generator(family, **config.sampling)
    batch = next(test.ordered_batches(config.data.condition, config.preview_count))

    def run(params: Params, frozen: Params) -> Report:
        samples = generate(frozen, params["side"], batch["context"], batch["condition"], batch["index"])
        columns = {"condition": batch["condition"], "sample": samples, "reference": batch["image"]}
        return Report(images={"samples": labelled_grid(columns, cell=96, blocks=4)})

    return run


def main() -> None:
    config, workdir = _CONFIG.value, _WORKDIR.value
    # The other commands read the config from the work directory, wherever they are started.
    config.base = str(Path(config.base).absolute())
    family = load_family(config)
    experiment = control_experiment(config, family)
    state = fit(experiment, config, workdir)
    _LOG.info("%d of %d steps are done; everything is in %s.", int(state.step), config.num_steps, workdir)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main)
