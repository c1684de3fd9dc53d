"""What a study says, as Markdown: means over seeds, and how much sooner an arm reaches what plain training reaches."""

from collections.abc import Iterable, Sequence

from lisa_jax.studies.fields import unusual
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.markdown import spread, table
from lisa_jax.studies.pairs import COSTS, Arm, Row, find_arms, find_pairs, sample_measures
from lisa_jax.studies.remedies import at_the_best_rate, at_the_same_rate, has_remedies
from lisa_jax.studies.speedup import ALIGN, GATE, LOSS


def markdown(rows: Iterable[Row]) -> str:
    """One table a task: mean ± standard deviation over seeds; gains and speed-ups are paired by seed.

    Fidelity is the task's first measure; its speed-up is in steps, in time and in FLOPs. Where cells have remedies
    (see `remedies`) a second table sets all arms beside the recipe without any, at their rate and at its best one.

    Args:
      rows: of a study (`Results.rows().values()`).
    """
    rows = list(rows)
    arms = find_arms(rows, find_pairs(rows))
    tasks = dict.fromkeys(arm.cell.task for arm in arms)
    of_task = {task: [arm for arm in arms if arm.cell.task == task] for task in tasks}
    tables = [_table(task, members) for task, members in of_task.items()]
    if has_remedies(arm.cell for arm in arms):
        tables += [_remedies(task, members) for task, members in of_task.items()]
    return "\n\n".join(tables) + "\n"


def _table(task: str, arms: Sequence[Arm]) -> str:
    measures = sample_measures([row for arm in arms for row in arm.rows])
    fidelity = next((name for name in measures if name.startswith("fidelity/")), "fidelity")
    quality = sorted(name for name in measures if name.startswith("quality/"))
    first = _short(fidelity)
    head = ["learning rate", "steps", "lam, and what is unusual", "hook", "seeds", "validation loss", first]
    head += ["gain in loss", f"gain in {first}", "early speed-up", "speed-up, loss", "speed-up, fidelity"]
    head += [*(f"the same in {cost}" for cost in COSTS), "align/gap", *map(_short, quality)]
    lines = [[*_described(arm), *_measured(arm, fidelity, quality)] for arm in sorted(arms, key=_order)]
    return f"### {task}\n\n{table(head, lines)}"


def _remedies(task: str, arms: Sequence[Arm]) -> str:
    measures = sample_measures([row for arm in arms for row in arm.rows])
    fidelity = next((name for name in measures if name.startswith("fidelity/")), "fidelity")
    same = {beside.arm.cell: beside for beside in at_the_same_rate(arms)}
    best = {beside.arm.cell: beside for beside in at_the_best_rate(arms)}
    head = ["learning rate", "steps", "lam, and what is unusual", "hook", "seeds"]
    head += ["validation loss", _short(fidelity), "gate norm"]
    for what in ("the recipe at this rate", "the recipe at its best rate"):
        head += [f"speed-up over {what}, loss", "the same, fidelity"]
    head += ["gain in loss over the latter", "the latter's rate"]
    lines = []
    for arm in sorted(arms, key=_order):
        beside = best.get(arm.cell)
        line = [*_described(arm), spread(arm.finals(LOSS), 4), spread(arm.finals(fidelity), 3)]
        line += [spread(arm.finals(GATE), 3)]
        line += [
            spread([] if one is None else one.speedups(measure), 2)
            for one in (same.get(arm.cell), beside)
            for measure in (LOSS, fidelity)
        ]
        line += (
            ["", ""]
            if beside is None
            else [
                spread(beside.gains(LOSS), 4, signed=True),
                f"{beside.recipe.cell.learning_rate:g}",
            ]
        )
        lines.append(line)
    return f"### {task}: remedies beside the recipe without any\n\n{table(head, lines)}"


def _described(arm: Arm) -> list[str]:
    cell = arm.cell
    lam = ", ".join([f"{cell.lam:g}", *_options(cell)])
    return [f"{cell.learning_rate:g}", str(cell.num_steps), lam, "+".join(cell.hooks), str(len(arm.rows))]


def _measured(arm: Arm, fidelity: str, quality: Sequence[str]) -> list[str]:
    return [
        spread(arm.finals(LOSS), 4),
        spread(arm.finals(fidelity), 3),
        spread(arm.gains(LOSS), 4, signed=True),
        spread(arm.gains(fidelity), 3, signed=True),
        spread(arm.early(), 2),
        spread(arm.speedups(LOSS), 2),
        spread(arm.speedups(fidelity), 2),
        *(spread(arm.speedups_in(cost, fidelity), 2) for cost in COSTS),
        spread(arm.finals(ALIGN), 2),
        *(spread(arm.finals(name), 3) for name in quality),
    ]


def _options(cell: Cell) -> list[str]:
    """What of an arm is not as usual, but for its hooks."""
    return [said.in_column.format(value) for said, value in unusual(cell)]


def _order(arm: Arm) -> tuple:
    cell = arm.cell
    return (-cell.learning_rate, cell.num_steps, "+".join(cell.hooks), cell.lam, _options(cell))


def _short(measure: str) -> str:
    """A measure without its kind: "fidelity/miou" -> "miou"."""
    return measure.removeprefix("fidelity/").removeprefix("quality/")
