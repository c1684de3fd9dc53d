"""Train a side network beside a frozen main network.

    python -m lisa_jax train --config=configs/openmoji_lineart.py --workdir=DIR [--config.field=value]

The same command continues an interrupted run from its newest checkpoint. SIGTERM saves and leaves, with exit status 75.
"""

import logging
import sys
from collections.abc import Callable

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from lisa_jax import metrics
from lisa_jax.commands._run import run_command
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.base import absolute_paths, load_family
from lisa_jax.experiments.control import ControlLosses, check_aligned_rows, family_losses
from lisa_jax.experiments.splits import Split, condition_columns, load_split, training_batches
from lisa_jax.experiments.trained_run import identity, trainable_init
from lisa_jax.families.family import Family
from lisa_jax.families.sharding_rules import RULES
from lisa_jax.parallel.cluster import STOPPED_EARLY
from lisa_jax.parallel.sharding import REPLICATED, make_mesh, placement
from lisa_jax.sampling.generate import make_generator
from lisa_jax.sampling.grid import labelled_grid
from lisa_jax.training.experiment import Diagnostic, Evaluation, Experiment, LossFn, Report
from lisa_jax.training.loop import fit

_LOG = logging.getLogger("lisa_jax")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and previews go.")

# Fixed, for the noise of an example depends on its place: runs of any batch size compare.
VALIDATION_BATCH_SIZE = 16


def control_experiment(config: ConfigDict, family: Family) -> Experiment:
    """The experiment whose trainable tree is the side network and the alignment decoder.

    Raises:
      ValueError: a hook that the side network does not have, a lam schedule or a weighting that does not exist.
    """
    train, test = load_split(config, family, "train"), load_split(config, family, "test")
    losses = family_losses(config, family, train.null_context)
    return Experiment(
        frozen=train.frozen(),
        load_start=family.read_side_start,
        init=trainable_init(config, family),
        loss_at=losses.loss_at,
        batches=training_batches(config, train),
        evaluations=(
            Evaluation(config.eval_every, _validation(test, losses.validation)),
            Evaluation(config.preview_every, _previews(config, family, test)),
        ),
        identity=identity(config, family),
        rules=RULES,
        diagnostic=_diagnostic(config, losses),
    )


def _diagnostic(config: ConfigDict, losses: ControlLosses) -> Diagnostic | None:
    # Configs of older runs have no such field.
    every = config.get("diagnostics_every")
    return None if every is None else Diagnostic(every, losses.gradients_at)


def _validation(test: Split, loss: LossFn) -> Callable[[Params, Params], Report]:
    """Main loss on the test split, always under the same noise, so that runs and steps compare example by example."""
    evaluate = jax.jit(lambda params, frozen, batch, key: loss(params, frozen, batch, key, 0)[1].means)

    def run(params: Params, frozen: Params) -> Report:
        total: dict[str, metrics.Mean] = {}
        for index, batch in enumerate(test.ordered_batches(VALIDATION_BATCH_SIZE)):
            arrays = test.arrays(batch)
            total = metrics.add(total, evaluate(params, frozen, arrays, jax.random.fold_in(jax.random.key(0), index)))
        return Report({f"validation/{name}": value for name, value in metrics.summarise(total).items()})

    return run


def _previews(config: ConfigDict, family: Family, test: Split) -> Callable[[Params, Params], Report]:
    """Samples for the first test examples from noise that never changes."""
    generate = make_generator(family, **config.sampling)
    batch = next(test.ordered_batches(config.preview_count))
    context, reference = test.contexts(batch), test.references(batch)

    def run(params: Params, frozen: Params) -> Report:
        samples = generate(
            frozen["main"], frozen["latents"], params["side"], context, batch["condition"], batch["index"]
        )
        columns = {**condition_columns(batch["condition"]), "sample": samples, "reference": reference}
        return Report(images={"samples": labelled_grid(columns, cell=96, blocks=4)})

    return run


def main() -> None:
    config, workdir = _CONFIG.value, _WORKDIR.value
    absolute_paths(config)
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    check_aligned_rows(config, mesh)
    family = load_family(config, placement(RULES if config.mesh.split_frozen else REPLICATED, mesh))
    experiment = control_experiment(config, family)
    state = fit(experiment, config, workdir)
    _LOG.info("%d of %d steps are done; everything is in %s.", int(state.step), config.num_steps, workdir)
    if int(state.step) < config.num_steps:
        sys.exit(STOPPED_EARLY)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main)
