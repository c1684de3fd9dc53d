"""Specifications of the viewers that leaf through pictures by step; plain JSON values but for the paths of pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lisa_jax.reporting.folders import Folder, Frames
from lisa_jax.reporting.words import (
    ONLY_SETTING,
    arm_names,
    measure_name,
    picture_name,
    setting_name,
    spaced,
    task_name,
)
from lisa_jax.studies.pairs import Row, sample_measures

Viewer = dict[str, Any]


def sample_viewer(folder: Folder, rows: Sequence[Row]) -> Viewer | None:
    """Samples of one task: any two of its runs beside condition and reference; None without samples."""
    sampled = [row for row in rows if folder.samples.get(row["id"])]
    if not sampled:
        return None
    cells, name = [row["cell"] for row in sampled], arm_names(row["cell"] for row in rows)
    measure = (sample_measures(rows) or [None])[0]
    sampled.sort(key=lambda row: row["cell"].lam > 0)
    runs = [
        {
            "group": setting_name(row["cell"], cells) or ONLY_SETTING,
            "label": f"{name(row['cell'])}, seed {row['cell'].seed}",
            "frames": _frames(folder.samples[row["id"]]),
            "told": {str(point["step"]): f"{point[measure]:.3f}" for point in row["curve"] if measure in point},
        }
        for row in sampled
    ]
    task = rows[0]["cell"].task
    return {
        "title": f"Samples on the way: {task_name(task)}",
        "runs": runs,
        "columns": _first_pair(sampled),
        "fixed": {picture_name(stem): file for stem, file in folder.task_pictures.get(task, {}).items()},
        "measure": measure_name(measure) if measure else "",
        "wide": False,
    }


def preview_viewer(runs: Sequence[tuple[str, str, Frames]]) -> Viewer | None:
    """Previews of training runs: (label, name of the preview, frames) each; two of them below each other."""
    runs = [run for run in runs if run[2]]
    if not runs:
        return None
    return {
        "title": "Previews on the way",
        "runs": [
            {
                "group": "previews",
                "label": label if name == "samples" else f"{label}: {spaced(name)}",
                "frames": _frames(frames),
                "told": {},
            }
            for label, name, frames in runs
        ],
        "columns": [0, 1] if len(runs) > 1 else [0],
        "fixed": {},
        "measure": "",
        "wide": True,
    }


def with_pictures(viewer: Viewer, uris: Mapping[Path, str]) -> Viewer:
    """A viewer with data URIs in the places of paths, which says whether any of them `moves`."""
    runs = [
        run | {"frames": [frame | {"picture": uris[frame["picture"]]} for frame in run["frames"]]}
        for run in viewer["runs"]
    ]
    fixed = {name: uris[path] for name, path in viewer["fixed"].items()}
    moves = any(uris[path].startswith("data:video/") for path in pictures_of(viewer))
    return viewer | {"runs": runs, "fixed": fixed, "moves": moves}


def pictures_of(viewer: Viewer) -> list[Path]:
    """All pictures that a viewer shows."""
    return [frame["picture"] for run in viewer["runs"] for frame in run["frames"]] + list(viewer["fixed"].values())


def _frames(frames: Frames) -> list[dict[str, Any]]:
    return [{"step": step, "picture": path} for step, path in sorted(frames.items())]


def _first_pair(rows: Sequence[Row]) -> list[int]:
    """Numbers of a plain run and its partner with LISA, or of what comes nearest to that."""
    cells = [row["cell"] for row in rows]
    plain = next((index for index, cell in enumerate(cells) if not cell.lam), 0)
    lisa = [index for index, cell in enumerate(cells) if cell.lam]
    partners = [index for index in lisa if cells[index].plain == cells[plain].plain]
    other = next(iter([*partners, *lisa, *range(1, len(rows))]), None)
    return [plain] if other in (None, plain) else [plain, other]
