"""Names as a reader wants them: of tasks, measures, arms and settings."""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lisa_jax.studies.fields import ALIGNMENT_FIELDS, FIELDS, RUN_FIELDS, Unusual, unusual
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.speedup import LOSS

# For a choice among settings where there is one.
ONLY_SETTING = "the only setting"

_TASKS = {
    "lineart": "line art",
    "lowres": "super-resolution",
    "softedge": "soft edges",
    "canny": "Canny edges",
}
_DATA = {
    "openmoji": "OpenMoji drawings",
    "openmoji_video": "moving OpenMoji drawings",
    "figures": "figures",
    "figures_video": "moving figures",
}
_MEASURES = {
    "f1_tolerance_0": "line F1, no pixel off",
    "f1_tolerance_1": "line F1, one pixel off",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "lowres_psnr": "PSNR at low resolution (dB)",
    "miou": "mIoU",
    "pck": "PCK@0.2",
    "pck_by_picture": "PCK@0.2, mean over pictures",
    "pck_0.1": "PCK@0.1",
    "pck_0.05": "PCK@0.05",
    "depth_rmse": "depth RMSE",
    "aligned_depth_rmse": "depth RMSE, aligned",
    "fid": "FID",
    "fd_effnet_lite0": "Fréchet distance (EfficientNet)",
    "clean_fid": "FID (clean)",
    "fd_inception_v3": "Fréchet distance (Inception)",
    "fd_inception_v3_clean": "Fréchet distance (Inception, clean)",
    "kid_effnet_lite0": "KID (EfficientNet)",
    "kid_inception_v3": "KID (Inception)",
    "kid_inception_v3_clean": "KID (Inception, clean)",
    "main_loss": "loss",
    "align_loss": "alignment loss",
    "main_over_target": "loss over the target's power",
    "align_over_gap": "alignment loss over the gap's power",
    "main_over_gap": "loss over the gap's power",
    "images_per_second": "examples per second",
    "grad_norm": "gradient norm",
    "gate_norm": "residuals over what they join",
}


def task_name(task: str) -> str:
    """A task's name: "lineart+pose" -> "line art and pose"."""
    return listed([_TASKS.get(part, spaced(part)) for part in task.split("+")])


def data_name(data: str) -> str:
    """A data set's name: "figures_video" -> "moving figures"."""
    return _DATA.get(data, spaced(data))


def picture_name(stem: str) -> str:
    """What a study's picture of a task shows, by its file: "condition_lineart" -> "condition: line art"."""
    kind, _, part = stem.partition("_")
    return f"{kind}: {task_name(part)}" if part else kind


def spaced(name: str) -> str:
    """A name of the code's as words: "zero_convolutions" -> "zero convolutions"."""
    return name.replace("_", " ")


def kind_name(measure: str) -> str:
    """What a measure is of: "fidelity", "quality" or "validation loss"."""
    return "validation loss" if measure == LOSS else measure.partition("/")[0]


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def measure_name(measure: str) -> str:
    """A measure's name: "fidelity/miou" -> "mIoU"; the parts of a composed task keep theirs before it."""
    kind, _, rest = measure.partition("/")
    if not rest:
        return _MEASURES.get(measure, spaced(measure))
    *parts, last = rest.split("/")
    words = ": ".join([*map(task_name, parts), _MEASURES.get(last, spaced(last))])
    return f"{kind} {words}" if kind in ("train", "validation") else words


def field_name(field: str) -> str:
    """A field's name: a cell's as `FIELDS` labels it, another as it is written."""
    return FIELDS[field].label if field in FIELDS else spaced(field)


def value_name(value: Any) -> str:
    """A field's value: numbers without noise, several hooks joined, "none" for nothing."""
    if isinstance(value, list | tuple):
        return " + ".join(map(value_name, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else spaced(str(value))


def arm_names(cells: Iterable[Cell]) -> Callable[[Cell], str]:
    """How the arms among these cells are called: "plain", "LISA", and what sets one apart from most: "LISA, λ 1"."""
    lam, hooks = _most_common(cells)

    def name(cell: Cell) -> str:
        if not cell.lam:
            return "plain"
        parts = [f"λ {cell.lam:g}"] if cell.lam != lam else []
        parts += [_hooks(cell.hooks)] if cell.hooks != hooks else []
        parts += [_in_words(said, value) for said, value in unusual(cell, ALIGNMENT_FIELDS)]
        return ", ".join(["LISA", *parts])

    return name


def lisa_words(cells: Iterable[Cell]) -> str:
    """What "LISA" alone stands for among these cells: "λ 0.2, hook down 3"; "" where no cell has LISA."""
    lam, hooks = _most_common(cells)
    return f"λ {lam:g}, {_hooks(hooks)}" if lam else ""


def _most_common(cells: Iterable[Cell]) -> tuple[float, tuple[str, ...]]:
    """λ and hooks of most arms with LISA, each by itself; the first ones where several are as common."""
    arms = list(dict.fromkeys(cell.any_seed for cell in cells if cell.lam))
    if not arms:
        return 0.0, ()
    return tuple(
        collections.Counter(getattr(arm, name) for arm in arms).most_common(1)[0][0] for name in ("lam", "hooks")
    )


def _hooks(hooks: tuple[str, ...]) -> str:
    return f"hook{'' if len(hooks) == 1 else 's'} {value_name(hooks)}"


def _in_words(said: Unusual, value: Any) -> str:
    return said.in_words.format(spaced(value) if isinstance(value, str) else value)


def setting_name(cell: Cell, cells: Sequence[Cell]) -> str:
    """What pairs share, as far as it varies among the cells shown together: "learning rate 0.001, 800 steps", or ""."""
    fields = [name for name in RUN_FIELDS if name not in ("task", "seed")]
    varied = [name for name in fields if len({getattr(other, name) for other in cells}) > 1]
    words = [told(name, getattr(cell, name)) for name in varied]
    return ", ".join(filter(None, words)) or ("the recipe" if varied else "")


def told(field: str, value: Any) -> str:
    """A field of a cell with its value: "learning rate 0.001"; "" for a value that goes without saying."""
    said = FIELDS[field].unusual
    if said is not None:
        return "" if value == FIELDS[field].usual else _in_words(said, value)
    return f"{value} steps" if field == "num_steps" else f"{field_name(field)} {value_name(value)}"


def digits(measure: str, values: Iterable[float | None]) -> int:
    """Decimals that a measure is printed with."""
    largest = max((abs(value) for value in values if value is not None), default=0)
    return 2 if largest >= 5 else 4 if measure == LOSS else 3
