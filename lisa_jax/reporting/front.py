"""The first screen of a page: the answer, one picture, and verdicts by task."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lisa_jax.reporting.findings import BETTER, NONE, UNKNOWN, WORSE, Finding, in_short
from lisa_jax.reporting.folders import Folder
from lisa_jax.reporting.tables import ABSENT, Table
from lisa_jax.reporting.viewers import Viewer
from lisa_jax.reporting.words import kind_name
from lisa_jax.studies.pairs import Pair

_VERDICTS = {
    BETTER: "better with LISA",
    WORSE: "worse with LISA",
    NONE: "no difference",
    UNKNOWN: "undecided",
}
_OPENMOJI = (
    "The pictures of OpenMoji drawings, and those drawn by models trained on them, are under CC BY-SA 4.0 "
    "(creativecommons.org/licenses/by-sa/4.0). All emojis designed by OpenMoji, the open-source emoji and icon project "
    "(openmoji.org). Changes: rasterised, layers separated, and drawn anew by a generative model."
)

# Title of a task -> its pairs and what was found in them.
Told = Mapping[str, tuple[Sequence[Pair], Sequence[Finding]]]


@dataclasses.dataclass(frozen=True)
class Hero:
    """One row of pictures: (caption, data URI) each."""

    title: str
    pictures: Sequence[tuple[str, str]]
    wide: bool


def answer(told: Told) -> list[str]:
    """At most two sentences: how training ended, and how fast; none without pairs."""
    sentences = in_short(told)
    return sentences[:1] + sentences[1:][-1:]


def verdicts(told: Told) -> Table | None:
    """Every task's verdicts at the end of training; None without pairs."""
    by_task = {title: {kind_name(finding.measure): finding for finding in found} for title, (_, found) in told.items()}
    kinds = list(dict.fromkeys(kind for found in by_task.values() for kind in found))
    rows = [
        [title, *(_VERDICTS[found[kind].kind] if kind in found else ABSENT for kind in kinds)]
        for title, found in by_task.items()
        if found
    ]
    return Table("At the end of training", ["task", *kinds], rows) if rows else None


def hero(viewers: Sequence[tuple[str, Viewer | None]]) -> Hero | None:
    """The last pictures of the first viewer of (title, viewer), pictures embedded; None where there is none."""
    title, viewer = next(((title, viewer) for title, viewer in viewers if viewer is not None), (None, None))
    if viewer is None:
        return None
    runs = [viewer["runs"][index] for index in viewer["columns"]]
    last = max(run["frames"][-1]["step"] for run in runs)
    drawn = [(run["label"], run["frames"][-1]["picture"]) for run in runs]
    if viewer["wide"]:
        return Hero(f"{title}, step {last}", drawn[:1], wide=True)
    fixed = list(viewer["fixed"].items())
    before = [one for one in fixed if one[0].startswith("condition")]
    after = [one for one in fixed if not one[0].startswith("condition")]
    return Hero(f"{title}, samples at step {last}", [*before, *drawn, *after], wide=False)


def credits_of(folders: Sequence[Folder]) -> list[str]:
    """Attributions that the data's licences ask for."""
    return [_OPENMOJI] if any("openmoji" in json.dumps(_data(folder), default=str) for folder in folders) else []


def _data(folder: Folder) -> Any:
    """What a folder says of its data."""
    protocol = folder.identity.get("protocol")
    told = protocol.get("data") if isinstance(protocol, Mapping) else None
    return [told, folder.config.get("data") if folder.config else None]
