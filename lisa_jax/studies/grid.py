"""From a declared grid to the cells of a study: one cell is one training run."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from lisa_jax.dual_branch import Hook, hook_names, parse_hook
from lisa_jax.studies.tasks import conditions_of
from lisa_jax.weighting import UNIFORM, check_weighting


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Attributes:
      task: name of the condition, or of several ("lineart+lowres"), see `lisa_jax.studies.data`.
      lam: weight of the alignment loss; 0 is plain training.
      learning_rate, seed, batch_size, num_steps: of the run; the seed decides initialisation, batches and noise, so
        two cells that differ in lam or hook only see the same data under the same noise.
      hook: side feature that the decoder reads, or several as a tuple or with commas between; None with lam 0.
      lam_decay_steps: lam falls to 0 as half a cosine over so many steps; None: it stays.
      lam_stop_step: from this step on there is no alignment; None: never.
      compute_dtype: dtype of activations.
      align_every: one row of so many is aligned, another one each step.
      decoder_width: factor on the decoder's hidden channels.
      weighting: of the alignment loss by noise level, see `lisa_jax.weighting`.
      decoder_rate: how many times the learning rate the decoder has.

    Raises:
      ValueError: alignment without a hook, or a value that makes no sense.
    """

    task: str
    lam: float
    learning_rate: float
    seed: int
    batch_size: int
    num_steps: int
    hook: Hook | None
    lam_decay_steps: int | None = None
    lam_stop_step: int | None = None
    compute_dtype: str = "float32"
    align_every: int = 1
    decoder_width: float = 1.0
    weighting: str = UNIFORM
    decoder_rate: float = 1.0

    def __post_init__(self) -> None:
        conditions_of(self.task)
        check_weighting(self.weighting)
        # Numbers of one kind, for the id depends on how they are written.
        for name in ("lam", "learning_rate", "decoder_width", "decoder_rate"):
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("lam_decay_steps", "lam_stop_step"):
            if (steps := getattr(self, name)) is not None and steps < 1:
                raise ValueError(f"{name} is {steps}, but must be 1 or more, or None for never.")
        if self.align_every < 1 or not min(self.decoder_width, self.decoder_rate) > 0:
            raise ValueError(
                f"align_every {self.align_every} must be 1 or more, decoder_width {self.decoder_width} and "
                f"decoder_rate {self.decoder_rate} positive."
            )
        if self.lam == 0:
            # Plain training has none of these: one cell, however it was written.
            for name, value in {"hook": None, "lam_decay_steps": None, "lam_stop_step": None, **_LATER}.items():
                object.__setattr__(self, name, value)
        elif self.hook is None:
            raise ValueError(f"A cell with lam {self.lam} needs a hook.")
        else:
            object.__setattr__(self, "hook", parse_hook(self.hook))

    @property
    def plain(self) -> "Cell":
        """The same without alignment."""
        return dataclasses.replace(self, lam=0.0)

    @property
    def id(self) -> str:
        """Short name that depends on all fields."""
        fields = dataclasses.asdict(self)
        changed = {name for name, value in _LATER.items() if fields[name] != value}
        kept = {name: value for name, value in fields.items() if name not in _LATER or name in changed}
        digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
        arm = f"lam{self.lam:g}_{'+'.join(hook_names(self.hook))}" if self.lam else "plain"
        unusual = {
            f"decay{self.lam_decay_steps}": self.lam_decay_steps is not None,
            f"stop{self.lam_stop_step}": self.lam_stop_step is not None,
            f"every{self.align_every}": self.align_every != 1,
            f"width{self.decoder_width:g}": self.decoder_width != 1,
            self.weighting: self.weighting != UNIFORM,
            f"rate{self.decoder_rate:g}": self.decoder_rate != 1,
        }
        arm = "_".join([arm, *(text for text, said in unusual.items() if said)])
        return f"{self.task}_{arm}_lr{self.learning_rate:g}_seed{self.seed}_{digest[:6]}"


# Fields that came later: where they have these values, an id is what it was before.
_LATER = {"align_every": 1, "decoder_width": 1.0, "weighting": UNIFORM, "decoder_rate": 1.0}


def cells_of(grids: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[Cell]:
    """The cells of grids in order, each cell once.

    Args:
      grids: each a mapping from fields of `Cell` to a value or a tuple of values; tuples are crossed, the first field
        varies slowest (a ConfigDict has its fields in the order of their names). Hooks that belong together are one
        value: "down_3,mid".
      defaults: values of the fields that a grid leaves out.

    Raises:
      ValueError: a field that a cell does not have.
    """
    known = {field.name for field in dataclasses.fields(Cell)}
    cells: dict[Cell, None] = {}
    for grid in grids:
        fields = {**defaults, **grid}
        if unknown := set(fields) - known:
            raise ValueError(f"Unknown field '{min(unknown)}' in a study's grid: there are {', '.join(sorted(known))}.")
        names = [*grid, *(name for name in fields if name not in grid)]
        values = [value if isinstance(value, tuple) else (value,) for value in (fields[name] for name in names)]
        for combination in itertools.product(*values):
            cells[Cell(**dict(zip(names, combination, strict=True)))] = None
    return list(cells)
