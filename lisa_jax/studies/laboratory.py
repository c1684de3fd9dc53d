"""What the cells of a study share: bases, data in memory, compiled programs, measures."""

import dataclasses
import math
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.evaluation.evaluation_set import EvaluationSet
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.experiments.base import load_base, setup_of
from lisa_jax.experiments.control import control_experiment
from lisa_jax.experiments.splits import Split, load_split
from lisa_jax.families.family import Family, Setup
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.sampling.generate import make_generator
from lisa_jax.studies.data import data_fingerprint, in_memory, with_conditions
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.tasks import conditions_of
from lisa_jax.studies.training_config import known_conditions, training_config
from lisa_jax.studies.validation import Validate, make_validation, measured_as
from lisa_jax.training.program import Program, make_program, run_keys
from lisa_jax.training.state import TrainState

SPLITS = ("train", "test")


class Laboratory:
    """All that the cells of a study share, each part made at its first use, and once for what it depends on.

    Attributes:
      config: of the study.
      mesh: of the devices that its runs train on.
    """

    def __init__(self, config: ConfigDict, load_base: Callable[..., Family] = load_base):
        """Set up; nothing is read or compiled before it is needed."""
        self.config = config
        sizes = config.training.mesh
        self.mesh = make_mesh(sizes.data, sizes.fsdp, sizes.tensor)
        self._load_base = load_base
        self._made: dict[tuple[str, Hashable], Any] = {}

    # ---- what a cell trains with: the parts of `lisa_jax train`

    def training(self, cell: Cell) -> ConfigDict:
        """The config with which `lisa_jax train` does what the cell does."""
        return training_config(self.config, cell)

    def family(self, cell: Cell) -> Family:
        """The base of a cell, with the networks that it trains."""
        return self._once("family", self.networks(cell), lambda: self._load_base(self.training(cell), self.mesh))

    def networks(self, cell: Cell, *, born: bool = True) -> str:
        """What decides the networks of a cell, in words: cells with the same share a family.

        Data, what side networks are copied from, and samples know nothing of decoders and of how new layers are born:
        cells with the same but for these share those.
        """
        setup = setup_of(self.training(cell))
        births = ("decoder_width", "condition_init", "zero_convolution_scale")
        return repr(setup if born else dataclasses.replace(setup, **{name: getattr(Setup, name) for name in births}))

    def split(self, cell: Cell, name: str) -> Split:
        """The train or test split of a cell, in memory."""

        def make() -> Split:
            whole, names = self._whole_split(cell, name), conditions_of(cell.task)
            return with_conditions(whole, names, self.family(cell.plain))

        return self._once("split", (self.networks(cell, born=False), name), make)

    def program(self, cell: Cell) -> Program:
        """What trains a cell."""

        def make() -> Program:
            config, split = self.training(cell), self.split(cell, "train")
            experiment = control_experiment(config, self.family(cell), split.frozen(), split.empty)
            return make_program(experiment, config, self.mesh, self._start(cell))

        return self._once("program", cell.any_seed, make)

    def initial_state(self, cell: Cell) -> TrainState:
        """The state of a cell at step 0."""
        init_key, _ = run_keys(cell.seed)
        return self.program(cell).initialise(self._start(cell), init_key)

    # ---- what is measured

    def validate(self, cell: Cell) -> Validate:
        """What validates a cell, see `make_validation`."""
        measured = measured_as(cell)

        def make() -> Validate:
            test = self.split(measured, "test")
            return make_validation(self.config.validation, self.training(measured), self.family(measured), test)

        return self._once("validate", measured, make)

    def sample(self, cell: Cell, side: Params | None) -> np.ndarray:
        """Samples of `shown` examples, uint8 (n, H, W, 3), always from the same noise; side None: without control."""
        split, plain = self.split(cell, "test"), cell.plain
        batch, frozen = self._shown(split), split.frozen()
        generate = self._once(
            "generator",
            self.networks(plain, born=False),
            lambda: make_generator(self.family(plain), **self.config.training.sampling),
        )
        examples = (split.contexts(batch), split.conditions(batch), batch["index"])
        return generate(frozen["main"], frozen["latents"], side, *examples)

    def sample_uncontrolled(self, task: str) -> np.ndarray:
        """Samples of the frozen network alone, of the same captions from the same noise."""
        return self.sample(_plain(task), None)

    def shown(self, task: str) -> EvaluationSet:
        """The first `training.preview_count` test examples: those that are sampled."""
        split = self.split(_plain(task), "test")
        batch = self._shown(split)
        return EvaluationSet(
            split.references(batch), split.conditions(batch), batch["caption"], split.truth(batch), embedded=True
        )

    def fps(self, task: str) -> float | None:
        """Frames a second of examples that are clips and say so."""
        return self.split(_plain(task), "test").source[0].get("fps")

    def fidelity(self, task: str, samples: np.ndarray) -> dict[str, float]:
        """How well samples of `shown` examples follow their conditions."""
        shown = self.shown(task)
        return fidelity(task, samples, shown.references, shown.conditions, shown.truth)

    def references(self, task: str) -> dict[str, dict[str, float | None]]:
        """Fidelity of the real pictures (ceiling), of other examples' pictures and of samples without control.

        A measure that has no bound, as the PSNR of a picture against itself, is None.
        """
        real = self.shown(task).references
        pictures = {
            "real": real,
            "other": np.roll(real, 1, axis=0),
            "no control": self.sample_uncontrolled(task),
        }
        return {
            name: {
                measure: value if math.isfinite(value) else None
                for measure, value in self.fidelity(task, images).items()
            }
            for name, images in pictures.items()
        }

    # ---- what tells one study from another

    @property
    def base_fingerprint(self) -> str:
        """Hash of the base."""
        return self.family(_plain(self._all_tasks)).fingerprint

    @property
    def data_fingerprint(self) -> str:
        """Hash of both splits with the conditions of all tasks, whichever of them a study has."""
        plain = _plain(self._all_tasks)
        return data_fingerprint(self._whole_split(plain, name) for name in SPLITS)

    def train_pictures(self, count: int) -> np.ndarray:
        """The first pictures of the training split, uint8 (n, H, W, 3)."""
        split = self._whole_split(_plain(self._all_tasks), "train")
        return split.references(next(split.ordered_batches(count)))

    @property
    def _all_tasks(self) -> str:
        return "+".join(sorted(known_conditions(self.config)))

    def _whole_split(self, cell: Cell, name: str) -> Split:
        """A split of a cell, with the conditions of all tasks."""
        whole = dataclasses.replace(cell.plain, task=self._all_tasks)
        return self._once(
            "whole split",
            (self.networks(whole, born=False), name),
            lambda: in_memory(load_split(self.training(whole), self.family(whole), name)),
        )

    def _start(self, cell: Cell) -> Params:
        return self._once("start", self.networks(cell, born=False), self.family(cell).read_start)

    def _shown(self, test: Split) -> dict[str, Any]:
        return next(test.ordered_batches(self.config.training.preview_count))

    def _once(self, what: str, depends_on: Hashable, make: Callable[[], Any]) -> Any:
        """What was made for the same values, or what `make` makes now."""
        key = (what, depends_on)
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _plain(task: str) -> Cell:
    """A cell for what depends on the task alone."""
    return Cell(task, 0.0, 0.0, 0, 1, 1)
