"""From a declared grid to the cells of a study: one cell is one training run."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lisa_jax

# What decides a result: an edit to any of these makes another study.
CODE = (
    "alignment.py",
    "dual_branch.py",
    "metrics.py",
    "processes.py",
    "data/openmoji",
    "data/conditions.py",
    "evaluation",
    "families",
    "models",
    "sampling",
    "studies",
    "training/optimizer.py",
    "training/state.py",
    "training/step.py",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run of a study.

    Attributes:
      task: name of the condition, see `lisa_jax.studies.data`.
      lam: weight of the alignment loss; 0 is plain training.
      learning_rate, seed, batch_size, num_steps: of the run; the seed decides initialisation, batches and noise, so
        two cells that differ in lam or hook only see the same data under the same noise.
      hook: side feature that the decoder reads; None with lam 0.
      lam_decay_steps: lam falls to 0 as half a cosine over so many steps; None: it stays.
      lam_stop_step: from this step on there is no alignment; None: never.
      compute_dtype: dtype of activations.
    """

    task: str
    lam: float
    learning_rate: float
    seed: int
    batch_size: int
    num_steps: int
    hook: str | None
    lam_decay_steps: int | None = None
    lam_stop_step: int | None = None
    compute_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.lam == 0:
            # Plain training has none of these: one cell, however it was written.
            for name in ("hook", "lam_decay_steps", "lam_stop_step"):
                object.__setattr__(self, name, None)
        elif self.hook is None:
            raise ValueError(f"A cell with lam {self.lam} needs a hook.")

    @property
    def id(self) -> str:
        """Short name that depends on all fields."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()
        arm = f"lam{self.lam:g}_{self.hook}" if self.lam else "plain"
        return f"{self.task}_{arm}_lr{self.learning_rate:g}_seed{self.seed}_{digest[:6]}"


def cells_of(grids: Iterable[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[Cell]:
    """The cells of grids in order, each cell once.

    Args:
      grids: each a mapping from fields of `Cell` to a value or a tuple of values; tuples are crossed, the first field
        varies slowest.
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


def code_fingerprint() -> str:
    """Hash of the source files that decide a result."""
    root = Path(lisa_jax.__file__).parent
    digest = hashlib.sha256()
    for name in CODE:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
