"""What a study measures without sampling: the losses of test examples, and the gradients of the two terms."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.experiments import training_run
from lisa_jax.experiments.control import control_losses
from lisa_jax.experiments.splits import Split
from lisa_jax.families.family import Family
from lisa_jax.parallel.compiling import Announced
from lisa_jax.studies.data import first
from lisa_jax.studies.fields import TRAINING_FIELDS, usual
from lisa_jax.studies.grid import Cell

# Names that rows have given these gradients from the first study on.
GRADIENTS = {
    "trunk_gradient/main": "trunk_grad_main",
    "trunk_gradient/lam_align": "trunk_grad_align",
    "trunk_gradient/cosine": "trunk_grad_cosine",
}

Validate = Callable[[Params, Params], dict[str, float]]


def measured_as(cell: Cell) -> Cell:
    """The cell with one value for all that validation does not depend on, so that such cells share one program.

    Validation sees every row, and the alignment loss before lam.
    """
    return dataclasses.replace(
        cell.any_seed,
        lam=float(cell.lam > 0),
        learning_rate=0.0,
        batch_size=1,
        num_steps=1,
        lam_decay_steps=None,
        lam_stop_step=None,
        align_every=1,
        decoder_rate=1.0,
        **{name: usual(name) for name in TRAINING_FIELDS},
    )


def make_validation(settings: ConfigDict, config: ConfigDict, family: Family, test: Split) -> Validate:
    """(params, frozen) -> `validation/...`: the losses of test examples under noise that never changes.

    With alignment also the gradients on the side networks' trunk: the norms of the main loss's (`trunk_grad_main`) and
    of the alignment loss's (`trunk_grad_align`, before lam), and the cosine between the two (`trunk_grad_cosine`).

    Args:
      settings: of a study, `validation`: the losses are those of the first `num_examples`, each seen `draws` times, the
        gradients those of the first `probe`.
      config: of a cell as `measured_as` gives it.
      family: of that cell.
      test: its test split, in memory.
    """
    examples = first(test, settings.num_examples)
    losses = control_losses(config, family, test.empty)
    validate = training_run.validation(examples, losses.measured, settings.draws)
    gradients = losses.gradients_at(0)
    if gradients is None:
        return lambda params, frozen: dict(validate(params, frozen).scalars)
    inputs = next(examples.ordered_batches(settings.probe))["inputs"]
    compare = Announced(partial(gradients, key=jax.random.key(1), step=0), "the gradients of both losses", position=2)

    def with_gradients(params: Params, frozen: Params) -> dict[str, float]:
        found = compare(params, frozen, inputs)
        named = {f"validation/{name}": float(found[of_train]) for of_train, name in GRADIENTS.items()}
        return {**validate(params, frozen).scalars, **named}

    return with_gradients
