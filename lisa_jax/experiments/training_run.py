"""Training side networks on a config's data: the experiment that `lisa_jax train` runs."""

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import chain

import jax
from ml_collections import ConfigDict

from lisa_jax import metrics
from lisa_jax.data.prepared.reads import oldest_read
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.experiments.conditions import condition_specs
from lisa_jax.experiments.control import control_experiment, control_losses
from lisa_jax.experiments.data_identity import check_same_everywhere
from lisa_jax.experiments.previews import Shown, previews
from lisa_jax.experiments.splits import Split, load_split, training_batches
from lisa_jax.families.family import Family
from lisa_jax.parallel.compiling import Announced
from lisa_jax.sampling.generate import make_generator
from lisa_jax.training.experiment import Evaluation, Experiment, LossFn, Report

# Fixed, for the noise of an example depends on its place: runs of any batch size compare.
VALIDATION_BATCH_SIZE = 16


def training_experiment(config: ConfigDict, family: Family) -> Experiment:
    """`control_experiment` with its data: batches, validation and previews; errors as there and of `load_split`."""
    own = condition_specs(config).values()
    train, test = (load_split(config, family, split, own) for split in ("train", "test"))
    check_same_everywhere(train.fingerprint)
    losses = control_losses(config, family, train.empty)
    return dataclasses.replace(
        control_experiment(config, family, train.frozen(), train.empty, train.fingerprint),
        batches=training_batches(config, train),
        reading=oldest_read,
        evaluations=(
            Evaluation(config.eval_every, validation(test, losses.validation)),
            Evaluation(config.preview_every, _previews(config, family, test)),
        ),
    )


def validation(test: Split, loss: LossFn, draws: int = 1) -> Callable[[Params, Params], Report]:
    """A loss on a split, always under the same noise, so that runs and steps compare example by example.

    Every example is seen `draws` times.
    """

    @partial(Announced, what="the validation", position=2)
    def evaluate(params: Params, frozen: Params, inputs: Tree, key: jax.Array) -> dict[str, metrics.Mean]:
        return loss(params, frozen, inputs, key=key, step=0)[1].means

    def run(params: Params, frozen: Params) -> Report:
        total: dict[str, metrics.Mean] = {}
        seen = chain.from_iterable(test.ordered_batches(VALIDATION_BATCH_SIZE) for _ in range(draws))
        for index, batch in enumerate(seen):
            key = jax.random.fold_in(jax.random.key(0), index)
            total = metrics.add(total, evaluate(params, frozen, batch["inputs"], key))
        return Report({f"validation/{name}": value for name, value in metrics.summarise(total).items()})

    return run


def _previews(config: ConfigDict, family: Family, test: Split) -> Callable[[Params, Params], Report]:
    """Samples for the first test examples from noise that never changes, with their captions."""
    generate = make_generator(family, **config.sampling)
    batch = next(test.ordered_batches(config.preview_count))
    context, reference, conditions = test.contexts(batch), test.references(batch), test.conditions(batch)
    fps = test.examples(batch)[0].get("fps")

    def draw(params: Params, frozen: Params) -> Shown:
        weights = (frozen["main"], frozen["latents"], params["side"])
        samples = generate(*weights, context, conditions, batch["index"])
        return Shown({**conditions, "sample": samples, "reference": reference}, batch["caption"], fps)

    return previews(draw, family.medium)
