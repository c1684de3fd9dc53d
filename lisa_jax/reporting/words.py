"""Names as a reader wants them: of measures, arms and settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_jax.studies.summary import LOSS, SHARED

_MEASURES = {
    "f1_tolerance_0": "line F1, no pixel off",
    "f1_tolerance_1": "line F1, one pixel off",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "lowres_psnr": "PSNR at low resolution (dB)",
    "miou": "mIoU",
    "pck": "PCK@0.2",
    "pck_0.1": "PCK@0.1",
    "pck_0.05": "PCK@0.05",
    "depth_rmse": "depth RMSE",
    "aligned_depth_rmse": "depth RMSE, aligned",
    "fid": "FID",
    "fd_effnet_lite0": "Fréchet distance (EfficientNet)",
    "fd_inception_v3": "Fréchet distance (Inception)",
    "kid_effnet_lite0": "KID (EfficientNet)",
    "kid_inception_v3": "KID (Inception)",
    "main_loss": "loss",
    "align_loss": "alignment loss",
    "main_over_target": "loss over the target's power",
    "align_over_gap": "alignment loss over the gap's power",
    "main_over_gap": "loss over the gap's power",
    "images_per_second": "images per second",
    "grad_norm": "gradient norm",
}
_FIELDS = {
    "task": "task",
    "lam": "λ",
    "hook": "hook",
    "learning_rate": "learning rate",
    "batch_size": "batch",
    "num_steps": "steps",
    "compute_dtype": "dtype",
    "lam_decay_steps": "fades out over (steps)",
    "lam_stop_step": "stops at step",
    "align_every": "rows per aligned row",
    "decoder_width": "decoder width",
    "weighting": "weighting",
    "decoder_rate": "decoder's learning rate over the rest's",
}
# What a cell has where its row does not say, for rows older than the field.
DEFAULTS = {
    "lam_decay_steps": None,
    "lam_stop_step": None,
    "align_every": 1,
    "decoder_width": 1.0,
    "weighting": "uniform",
    "decoder_rate": 1.0,
}
_EXTRAS = {
    "lam_decay_steps": "fading over {} steps",
    "lam_stop_step": "until step {}",
    "align_every": "one row of {}",
    "weighting": "weighting {}",
    "decoder_width": "decoder of width {}",
    "decoder_rate": "decoder at {} times the rate",
}


def measure_name(measure: str) -> str:
    """A measure's name: "fidelity/miou" -> "mIoU"; the parts of a composed task keep theirs before it."""
    kind, _, rest = measure.partition("/")
    if not rest:
        return _MEASURES.get(measure, measure.replace("_", " "))
    *parts, last = rest.split("/")
    words = _MEASURES.get(last, last.replace("_", " "))
    words = f"{'/'.join(parts)}: {words}" if parts else words
    return f"{kind} {words}" if kind in ("train", "validation") else words


def field_name(field: str) -> str:
    return _FIELDS.get(field, field.replace("_", " "))


def value_name(value: Any) -> str:
    """A cell's value: numbers without noise, several hooks joined, "none" for nothing."""
    if isinstance(value, tuple):
        return " + ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def arm_name(cell: Mapping[str, Any]) -> str:
    """ "plain", or "LISA λ 0.2, down_3" and what else sets it apart."""
    words = [f"LISA λ {cell['lam']:g}", value_name(cell["hook"])] if cell["lam"] else ["plain"]
    for field, text in _EXTRAS.items():
        if cell.get(field, DEFAULTS[field]) != DEFAULTS[field]:
            words.append(text.format(value_name(cell[field])))
    return " ".join(words[:1]) + "".join(f", {word}" for word in words[1:])


def setting_name(cell: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> str:
    """What pairs share, as far as it varies among the cells shown together: "learning rate 0.001, steps 800"."""
    fields = [name for name in SHARED if name not in ("task", "seed") and len({other.get(name) for other in cells}) > 1]
    return ", ".join(_told(name, cell[name]) for name in fields) or "the only setting"


def _told(field: str, value: Any) -> str:
    return f"{value} steps" if field == "num_steps" else f"{field_name(field)} {value_name(value)}"


def sample_measures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Measures of samples in rows: of fidelity, the first is the one that speed-ups are told for; then of quality."""
    names = dict.fromkeys(name for row in rows for point in row["curve"] for name in point)
    return [name for kind in ("fidelity/", "quality/") for name in names if name.startswith(kind)]


def digits(measure: str, values: Iterable[float | None]) -> int:
    """Decimals that a measure is printed with."""
    largest = max((abs(value) for value in values if value is not None), default=0)
    return 2 if largest >= 5 else 4 if measure == LOSS else 3
