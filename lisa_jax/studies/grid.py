"""From a declared grid to the cells of a study: one cell is one training run."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_jax.dual_branch import parse_hooks
from lisa_jax.studies.fields import ALIGNMENT_FIELDS, FIELDS, in_ids, unusual, usual
from lisa_jax.studies.tasks import conditions_of
from lisa_jax.weighting import check_weighting


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of a study. What else is to be known of its fields is in `fields.FIELDS`.

    Attributes:
      task: name of the condition, or of several ("lineart+lowres"), see `lisa_jax.studies.tasks`.
      lam: weight of the alignment loss; 0 is plain training.
      learning_rate, seed, batch_size, num_steps: of the run; the seed decides initialisation, batches and noise, so
        two cells that differ in lam or hooks only see the same data under the same noise.
      hooks: side features that a decoder reads, as a tuple or in another form of `read_hooks`; none with lam 0.
      lam_decay_steps: lam falls to 0 as half a cosine over so many steps; None: it stays.
      lam_stop_step: from this step on there is no alignment; None: never.
      compute_dtype: dtype of activations.
      align_every: one row of so many is aligned, another one each step.
      decoder_width: factor on the decoder's hidden channels.
      weighting: of the alignment loss by noise level, see `lisa_jax.weighting`.
      decoder_rate: how many times the learning rate the decoder has.
      fresh_rate, fresh_layers, fresh_steps: learning rate of the layers that are not copied, which of them, and in how
        many steps it falls to that of the rest, see configs/base.py.
      condition_init, zero_convolution_scale: how those layers are born.
      optimizer, b1, b2, weight_decay, clip_norm, eps: its name and fields, see configs/base.py.
      schedule: of the learning rate.
      ema_decay: of the average that is measured in place of the parameters; None: none.

    Raises:
      ValueError: alignment without a hook, or a value that makes no sense.
    """

    task: str
    lam: float
    learning_rate: float
    seed: int
    batch_size: int
    num_steps: int
    hooks: tuple[str, ...] = usual("hooks")
    lam_decay_steps: int | None = usual("lam_decay_steps")
    lam_stop_step: int | None = usual("lam_stop_step")
    compute_dtype: str = usual("compute_dtype")
    align_every: int = usual("align_every")
    decoder_width: float = usual("decoder_width")
    weighting: str = usual("weighting")
    decoder_rate: float = usual("decoder_rate")
    fresh_rate: float = usual("fresh_rate")
    fresh_layers: str | None = usual("fresh_layers")
    fresh_steps: int | None = usual("fresh_steps")
    condition_init: str = usual("condition_init")
    zero_convolution_scale: float = usual("zero_convolution_scale")
    optimizer: str = usual("optimizer")
    b1: float = usual("b1")
    b2: float = usual("b2")
    weight_decay: float = usual("weight_decay")
    clip_norm: float = usual("clip_norm")
    eps: float = usual("eps")
    schedule: str = usual("schedule")
    ema_decay: float | None = usual("ema_decay")

    def __post_init__(self) -> None:
        self._normalise()
        conditions_of(self.task)
        check_weighting(self.weighting)
        for name in ("lam_decay_steps", "lam_stop_step"):
            if (steps := getattr(self, name)) is not None and steps < 1:
                raise ValueError(f"{name} is {steps}, but must be 1 or more, or None for never.")
        if self.align_every < 1 or not min(self.decoder_width, self.decoder_rate) > 0:
            raise ValueError(
                f"align_every {self.align_every} must be 1 or more, decoder_width {self.decoder_width} and "
                f"decoder_rate {self.decoder_rate} positive."
            )
        if self.lam and not self.hooks:
            raise ValueError(f"A cell with lam {self.lam} needs a hook.")

    def _normalise(self) -> None:
        """One form of equal cells, for ids and comparisons depend on it."""
        values = {
            field.name: float(getattr(self, field.name)) for field in dataclasses.fields(self) if field.type is float
        }
        values["hooks"] = read_hooks(self.hooks)
        if self.lam == 0:
            # Plain training has no alignment, however the cell was written.
            values |= {name: usual(name) for name in ALIGNMENT_FIELDS}
        if values["fresh_rate"] == 1:
            values |= {name: usual(name) for name in ("fresh_layers", "fresh_steps")}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def plain(self) -> "Cell":
        """The same without alignment: what a run is compared with."""
        return dataclasses.replace(self, lam=0.0)

    @property
    def any_seed(self) -> "Cell":
        """The same with seed 0: equal for the runs of an arm, which differ in their seed alone."""
        return dataclasses.replace(self, seed=0)

    @property
    def setting(self) -> "Cell":
        """What an arm and the plain runs that it is compared with have in common."""
        return self.plain.any_seed

    @property
    def id(self) -> str:
        """Short name that depends on all fields."""
        digest = hashlib.sha256(json.dumps(_as_written(in_ids(self)), sort_keys=True).encode()).hexdigest()
        arm = [f"lam{self.lam:g}", "+".join(self.hooks)] if self.lam else ["plain"]
        arm += [said.in_id.format(value) for said, value in unusual(self)]
        return f"{self.task}_{'_'.join(arm)}_lr{self.learning_rate:g}_seed{self.seed}_{digest[:6]}"

    def written(self) -> dict[str, Any]:
        """Fields as rows have them: `read_cell` turned round."""
        return _as_written(dataclasses.asdict(self))


def read_cell(written: Mapping[str, Any]) -> Cell:
    """A cell as rows and grids write it: its fields, but hooks under the name `hook`, see `read_hooks`.

    Raises:
      TypeError: an unknown field, or one that is missing.
      ValueError: as `Cell` does.
    """
    return Cell(**{"hooks" if name == "hook" else name: value for name, value in written.items()})


def read_hooks(written: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of hooks as `parse_hooks` reads them, or none from None or an empty tuple."""
    return parse_hooks(written) if written else ()


def written_hook(hooks: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """Hooks as rows have them: None, a name, or several."""
    return hooks if len(hooks) > 1 else next(iter(hooks), None)


def _as_written(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hook" if name == "hooks" else name: written_hook(value) if name == "hooks" else value
        for name, value in fields.items()
    }


def cells_of(grids: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[Cell]:
    """The cells of grids in order, each cell once.

    Args:
      grids: each a mapping from fields, as `read_cell` names them, to a value or a tuple of values; tuples are crossed,
        the first field varies slowest (a ConfigDict has its fields in the order of their names). Hooks that belong
        together are one value: "down_3,mid".
      defaults: values of the fields that a grid leaves out.

    Raises:
      ValueError: a field that a cell does not have.
    """
    known = _as_written(dict.fromkeys(FIELDS, ())).keys()
    cells: dict[Cell, None] = {}
    for grid in grids:
        fields = {**defaults, **grid}
        if unknown := set(fields) - known:
            raise ValueError(f"Unknown field '{min(unknown)}' in a study's grid: there are {', '.join(sorted(known))}.")
        names = [*grid, *(name for name in fields if name not in grid)]
        values = [value if isinstance(value, tuple) else (value,) for value in (fields[name] for name in names)]
        for combination in itertools.product(*values):
            cells[read_cell(dict(zip(names, combination, strict=True)))] = None
    return list(cells)
