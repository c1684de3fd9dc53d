"""One HTML page out of folders: what goes where, and the rendering."""

import collections
import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import lisa_jax
from lisa_jax.reporting.curves import Chart, fidelity_chart, gradient_chart, noise_chart, training_chart
from lisa_jax.reporting.findings import Finding, Strips, findings, overview, strips
from lisa_jax.reporting.folders import Folder
from lisa_jax.reporting.front import answer, credits_of, hero, verdicts
from lisa_jax.reporting.names import (
    evaluation_names,
    lam_of,
    run_names,
    study_names,
    task_titles,
    tasks_of,
    trained_task,
)
from lisa_jax.reporting.pictures import embed, stills_alone
from lisa_jax.reporting.probes import ProbeGroup, probe_groups
from lisa_jax.reporting.tables import Table, ablation_tables, arms_table, evaluation_table, runs_table
from lisa_jax.reporting.viewers import Viewer, pictures_of, preview_viewer, sample_viewer, with_pictures
from lisa_jax.reporting.words import lisa_words, listed, task_name
from lisa_jax.studies.pairs import Pair, find_arms, find_pairs

_TEMPLATES = "reporting/templates"


@dataclasses.dataclass
class TaskPart:
    """All that a study says of one task.

    Attributes:
      title: tells it from the tasks of other studies.
      lisa: what "LISA" alone stands for, "" where no run has it.
    """

    name: str
    title: str
    lisa: str
    pairs: Sequence[Pair]
    findings: Sequence[Finding]
    strips: Sequence[Strips]
    curves: Chart
    viewer: Viewer | None
    noise: Chart | None
    gradients: Chart | None
    arms: Table
    ablations: Sequence[Table]
    probes: Sequence[ProbeGroup]


@dataclasses.dataclass
class TrainingPart:
    """Training runs with the same condition, each with its name."""

    name: str
    runs: Sequence[tuple[str, Folder]]
    curves: Chart
    viewer: Viewer | None


@dataclasses.dataclass(frozen=True)
class StudyPart:
    """One study."""

    name: str
    folder: Folder
    overview: str
    devices: Sequence[str]
    command: str
    runs: Table
    tasks: Sequence[TaskPart]


@dataclasses.dataclass(frozen=True)
class FolderPart:
    """What does not belong to a study's tasks: probes of other runs, and evaluations with their names."""

    name: str
    probes: Sequence[ProbeGroup]
    tables: Sequence[Table]
    evaluations: Sequence[tuple[str, Mapping[str, Any]]]


def render(folders: Sequence[Folder]) -> str:
    """The page as HTML; it loads nothing from anywhere."""
    studies = _studies([folder for folder in folders if folder.rows])
    trainings = _trainings([folder for folder in folders if folder.metrics])
    others = _others(folders, studies, trainings)
    tasks = [part for study in studies for part in study.tasks]
    stills = _embed(tasks + trainings)
    told = {part.title: (part.pairs, part.findings) for part in tasks}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lisa_jax", _TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, default=str)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}

    def asset(name: str) -> Markup:
        return Markup(environment.loader.get_source(environment, name)[0])

    return environment.get_template("page.html.jinja").render(
        headline=_headline(tasks, trainings, others),
        answer=answer(told),
        hero=hero([(part.title, part.viewer) for part in tasks] + [(part.name, part.viewer) for part in trainings]),
        verdicts=verdicts(told),
        credits=credits_of(folders),
        studies=studies,
        trainings=trainings,
        others=others,
        notices=[*(notice for folder in folders for notice in folder.notices), *stills],
        command=shlex.join(["python", "-m", "lisa_jax", "report", *(str(folder.path) for folder in folders)]),
        asset=asset,
    )


def _headline(tasks: Sequence[TaskPart], trainings: Sequence[TrainingPart], others: Sequence[FolderPart]) -> str:
    """What a page is about: its tasks, or where there is none what was evaluated or probed."""
    names = dict.fromkeys([*(task_name(part.name) for part in tasks), *(part.name for part in trainings)])
    headline = listed(list(names or dict.fromkeys(part.name for part in others)))
    return headline[:1].upper() + headline[1:]


def _studies(folders: Sequence[Folder]) -> list[StudyPart]:
    return [
        _study(folder, name, titles)
        for folder, name, titles in zip(folders, study_names(folders), task_titles(folders), strict=True)
    ]


def _study(folder: Folder, name: str, titles: Mapping[str, str]) -> StudyPart:
    pairs = find_pairs(folder.rows)
    devices = collections.Counter(str(row.get("device", "not recorded")) for row in folder.rows)
    tasks = [_task(folder, task, titles[task], pairs) for task in tasks_of(folder)]
    return StudyPart(
        name,
        folder,
        overview(folder.rows, pairs),
        [f"{device} ({count} run{'' if count == 1 else 's'})" for device, count in devices.items()],
        f"python -m lisa_jax study --config={_study_config(folder)} --out={shlex.quote(str(folder.path))}",
        runs_table(folder.rows),
        tasks,
    )


def _task(folder: Folder, task: str, title: str, pairs: Sequence[Pair]) -> TaskPart:
    rows = [row for row in folder.rows if row["cell"].task == task]
    pairs = [pair for pair in pairs if pair.row["cell"].task == task]
    arms = find_arms(rows, pairs)
    return TaskPart(
        task,
        title,
        lisa_words(row["cell"] for row in rows),
        pairs,
        findings(rows, pairs),
        strips(rows, pairs),
        fidelity_chart(rows, folder.references.get(task, {})),
        sample_viewer(folder, rows),
        noise_chart(rows),
        gradient_chart(rows),
        arms_table(arms),
        ablation_tables(arms),
        probe_groups([probe for probe in folder.probes if probe["task"] == task]),
    )


def _trainings(folders: Sequence[Folder]) -> list[TrainingPart]:
    groups: dict[str, list[Folder]] = {}
    for folder in folders:
        groups.setdefault(trained_task(folder.config), []).append(folder)
    parts = []
    for name, members in groups.items():
        members.sort(key=lambda folder: lam_of(folder.config) > 0)
        runs = list(zip(run_names([folder.config for folder in members]), members, strict=True))
        curves = training_chart([(label, lam_of(folder.config), folder.metrics) for label, folder in runs])
        previews = [(label, kind, frames) for label, folder in runs for kind, frames in folder.previews.items()]
        parts.append(TrainingPart(name, runs, curves, preview_viewer(previews)))
    return parts


def _others(
    folders: Sequence[Folder], studies: Sequence[StudyPart], trainings: Sequence[TrainingPart]
) -> list[FolderPart]:
    names = {study.folder.path: study.name for study in studies}
    names |= {folder.path: f"{part.name}, {label}" for part in trainings for label, folder in part.runs}
    parts = []
    for folder in folders:
        probes = probe_groups([probe for probe in folder.probes if probe["task"] not in tasks_of(folder)])
        evaluations = list(
            zip(evaluation_names([*folder.evaluations.values()]), folder.evaluations.values(), strict=True)
        )
        tables = [
            evaluation_table(name, content, kind)
            for name, content in evaluations
            for kind in ("fidelity", "quality")
            if isinstance(content.get(kind), Mapping)
        ]
        if probes or evaluations:
            measured = dict.fromkeys([*(group.task for group in probes), *(name for name, _ in evaluations)])
            parts.append(FolderPart(names.get(folder.path) or listed(list(measured)), probes, tables, evaluations))
    return parts


def _embed(parts: Sequence[TaskPart | TrainingPart]) -> list[str]:
    """Put pictures into viewers; all at once, for their number decides how they are packed. Returns what is missing."""
    viewers = [part for part in parts if part.viewer is not None]
    paths = [path for part in viewers for path in pictures_of(part.viewer)]
    uris = embed(paths)
    for part in viewers:
        part.viewer = with_pictures(part.viewer, uris)
    return list(filter(None, [stills_alone(paths)]))


def _study_config(folder: Folder) -> str:
    """The config of the same name as the folder, where the repository has one."""
    name = f"configs/studies/{folder.path.resolve().name}.py"
    return name if (Path(lisa_jax.__file__).parents[1] / name).is_file() else "CONFIG"
