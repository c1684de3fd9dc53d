"""Names of a study's tasks: that of a condition, or "a+b" for several conditions with a side network each."""

from lisa_jax.evaluation.tasks import parts_of, task_of


def conditions_of(task: str) -> tuple[str, ...]:
    """The conditions of a task, one or more.

    Raises:
      ValueError: conditions of a composed task that are not in the order of their names, or one that is there twice.
    """
    names = parts_of(task)
    if task != (ordered := task_of(set(names))):
        raise ValueError(f"Task '{task}': name its conditions once each and in order, {ordered}.")
    return names
