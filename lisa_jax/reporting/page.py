"""One HTML page out of folders: what goes where, and the rendering."""

import collections
import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

import lisa_jax
from lisa_jax.evaluation.tasks import task_of
from lisa_jax.reporting.curves import Chart, fidelity_chart, gradient_chart, noise_chart, training_chart
from lisa_jax.reporting.findings import Finding, Strips, findings, overview, strips
from lisa_jax.reporting.folders import Folder
from lisa_jax.reporting.front import answer, credits_of, hero, verdicts
from lisa_jax.reporting.pictures import embed, stills_alone
from lisa_jax.reporting.probes import ProbeGroup, probe_groups
from lisa_jax.reporting.tables import Table, ablation_tables, arms_table, evaluation_table, runs_table
from lisa_jax.reporting.viewers import Viewer, pictures_of, preview_viewer, sample_viewer, with_pictures
from lisa_jax.reporting.words import listed, task_name
from lisa_jax.studies.pairs import Pair, find_arms, find_pairs

_TEMPLATES = "reporting/templates"


@dataclasses.dataclass
class TaskPart:
    """All that a study says of one task; `title` tells it from the tasks of other studies."""

    name: str
    title: str
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
    """Training runs with the same condition."""

    name: str
    runs: Sequence[Folder]
    curves: Chart
    viewer: Viewer | None


@dataclasses.dataclass(frozen=True)
class StudyPart:
    """One study."""

    folder: Folder
    overview: str
    devices: Sequence[str]
    command: str
    runs: Table
    tasks: Sequence[TaskPart]


@dataclasses.dataclass(frozen=True)
class FolderPart:
    """What does not belong to a study's tasks: probes of other runs, and evaluations."""

    folder: Folder
    probes: Sequence[ProbeGroup]
    evaluations: Sequence[Table]


def render(folders: Sequence[Folder]) -> str:
    """The page as HTML; it loads nothing from anywhere."""
    titles = _titles(folders)
    studies = [_study(folder, titles) for folder in folders if folder.rows]
    trainings = _trainings([folder for folder in folders if folder.metrics])
    others = [part for folder in folders if (part := _other(folder)).probes or part.evaluations]
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
        headline=_headline(folders, tasks, trainings),
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


def _headline(folders: Sequence[Folder], tasks: Sequence[TaskPart], trainings: Sequence[TrainingPart]) -> str:
    """What a page is about: its tasks, or where there is none its folders."""
    names = dict.fromkeys([*(task_name(part.name) for part in tasks), *(part.name for part in trainings)])
    headline = listed(list(names) or [folder.name for folder in folders])
    return headline[:1].upper() + headline[1:]


def _tasks_of(folder: Folder) -> list[str]:
    return list(dict.fromkeys(row["cell"].task for row in folder.rows))


def _titles(folders: Sequence[Folder]) -> dict[tuple[Path, str], str]:
    """A title for each task of each study: its name, with the study's where another one has the task too."""
    counts = collections.Counter(task for folder in folders for task in _tasks_of(folder))
    return {
        (folder.path, task): task_name(task) + ("" if counts[task] == 1 else f" ({folder.name.replace('_', ' ')})")
        for folder in folders
        for task in _tasks_of(folder)
    }


def _study(folder: Folder, titles: Mapping[tuple[Path, str], str]) -> StudyPart:
    pairs = find_pairs(folder.rows)
    devices = collections.Counter(str(row.get("device", "not recorded")) for row in folder.rows)
    tasks = [_task(folder, task, titles[folder.path, task], pairs) for task in _tasks_of(folder)]
    return StudyPart(
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
        condition = folder.config.get("data", {}).get("condition")
        name = "training" if condition is None else task_name(task_of(condition))
        groups.setdefault(name, []).append(folder)
    parts = []
    for name, members in groups.items():
        members.sort(key=lambda folder: _lam(folder) > 0)
        labels = _labels(members)
        curves = training_chart([(labels[folder.path], _lam(folder), folder.metrics) for folder in members])
        previews = [
            (labels[folder.path], kind, frames) for folder in members for kind, frames in folder.previews.items()
        ]
        parts.append(TrainingPart(name, members, curves, preview_viewer(previews)))
    return parts


def _other(folder: Folder) -> FolderPart:
    tasks = {row["cell"].task for row in folder.rows}
    tables = [
        evaluation_table(name, content, part)
        for name, content in folder.evaluations.items()
        for part in ("fidelity", "quality")
        if isinstance(content.get(part), Mapping)
    ]
    return FolderPart(folder, probe_groups([probe for probe in folder.probes if probe["task"] not in tasks]), tables)


def _labels(folders: Sequence[Folder]) -> dict[Path, str]:
    """Names of runs, with their arm; the whole path where two folders have the same name."""
    names = collections.Counter(folder.name for folder in folders)
    labels = {}
    for folder in folders:
        name = folder.name if names[folder.name] == 1 else str(folder.path)
        labels[folder.path] = f"{name} ({f'LISA λ {lam:g}' if (lam := _lam(folder)) else 'plain'})"
    return labels


def _lam(folder: Folder) -> float:
    return float((folder.config.get("lisa") or {}).get("lam", 0))


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
    name = f"configs/studies/{folder.name}.py"
    return name if (Path(lisa_jax.__file__).parents[1] / name).is_file() else "CONFIG"
