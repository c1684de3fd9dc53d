"""Training a small main network from scratch: the experiment that `lisa_jax pretrain` runs."""

import re
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from lisa_jax.alignment import add_noise, main_loss
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.experiments.data_identity import data_identity, with_data_fingerprint
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.experiments.previews import Shown, previews
from lisa_jax.experiments.splits import Split, load_split, training_batches
from lisa_jax.families.family import Family
from lisa_jax.sampling.generate import make_generator
from lisa_jax.training.experiment import Evaluation, Experiment, Report
from lisa_jax.training.upgrade import Upgrade


def pretraining(config: ConfigDict, family: Family) -> Experiment:
    """The experiment whose trainable tree is the main network."""
    train, test = load_split(config, family, "train"), load_split(config, family, "test")

    def loss(params, frozen, inputs, *, key, step):
        del step
        input_key, noise_key = jax.random.split(key)
        encoded = model_inputs(
            inputs, input_key, frozen, family=family, empty=train.empty, caption_dropout=config.caption_dropout
        )
        noisy = add_noise(encoded["latents"], noise_key, family.process)
        return main_loss(params["main"], encoded, noisy, model=family.model, process=family.process)

    return Experiment(
        frozen={"latents": family.latents.params},
        init=lambda start, key: {"main": start},
        loss_at=lambda step: loss,
        load_start=lambda: family.frozen,
        batches=training_batches(config, train),
        unit=family.medium.unit,
        evaluations=(Evaluation(config.eval_every, _previews(config, family, test)),),
        identity={
            "seed": config.seed,
            "batch_size": config.batch_size,
            "accumulate": config.accumulate,
            "ema_decay": config.ema_decay,
            "optimizer": config.optimizer.name,
            "start": family.fingerprint,
            **data_identity(config, train.fingerprint),
        },
        # Before there was a choice, the optimizer was AdamW.
        upgrade=Upgrade(
            lambda saved: with_data_fingerprint({"optimizer": "adamw", **saved}, config, train.fingerprint)
        ),
        rate_factors=lambda trainable, step: {"main": buffers_at_rest(trainable["main"], family.buffers)},
    )


def buffers_at_rest(main: Params, buffers: str | None) -> Tree:
    """Factors on the learning rate of a main network's parameters: 0 of buffers, which nothing but decay would move.

    Args:
      main: its parameters, or their shapes.
      buffers: see `Family.buffers`.
    """

    def factor(path: tuple, leaf: jax.Array) -> float:
        del leaf
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return 0.0 if buffers is not None and re.search(buffers, name) else 1.0

    return jax.tree_util.tree_map_with_path(factor, main)


def _previews(config: ConfigDict, family: Family, test: Split) -> Callable[[Params, Params], Report]:
    settings = config.sampling.to_dict()
    batch = next(test.ordered_batches(settings.pop("count")))
    generate = make_generator(family, **settings)
    context, reference = test.contexts(batch), test.references(batch)

    def draw(params: Params, frozen: Params) -> Shown:
        size = reference.shape[1:-1]
        samples = generate(params["main"], frozen["latents"], None, context, {}, batch["index"], size=size)
        return Shown({"sample": samples, "same caption": reference})

    return previews(draw, family.medium)
