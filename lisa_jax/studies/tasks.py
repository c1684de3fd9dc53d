"""Names of a study's tasks: that of a condition, or "a+b" for several conditions with a side network each."""


def conditions_of(task: str) -> tuple[str, ...]:
    """The conditions of a task, one or more.

    Raises:
      ValueError: conditions of a composed task that are not in the order of their names, or one that is there twice.
    """
    names = tuple(task.split("+"))
    if names != tuple(sorted(set(names))):
        raise ValueError(f"Task '{task}': name its conditions once each and in order, {'+'.join(sorted(set(names)))}.")
    return names
