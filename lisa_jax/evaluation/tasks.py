"""Names of tasks: what a condition is measured as, "a+b" for several at once."""

from collections.abc import Iterable

from lisa_jax.data.conditions.names import name_of

# Names that data sets of these conditions usually have.
ALIASES = {"seg": "segmentation", "sr": "lowres"}


def task_of(condition: str | Iterable[str]) -> str:
    """The task of a condition: its name, or the function's of "module:function"; of several, in order, "a+b"."""
    names = [condition] if isinstance(condition, str) else condition
    short = map(name_of, names)
    return "+".join(sorted(ALIASES.get(name, name) for name in short))


def parts_of(task: str) -> tuple[str, ...]:
    """The tasks that a task is composed of; itself alone where it is not composed."""
    return tuple(task.split("+"))


def name_within(task: str, part: str, measure: str) -> str:
    """A part's measure among those of the task: "part/measure" where the task is composed."""
    return measure if part == task else f"{part}/{measure}"
