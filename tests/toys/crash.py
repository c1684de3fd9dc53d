"""A run that is killed before a step, and what it has saved."""


class Crash(Exception):
    """What kills it."""


def crash_at(crash_step):
    """A `before_step` of `Experiment` that kills the run before this step."""

    def before_step(step, batch):
        if step == crash_step:
            raise Crash
        return batch

    return before_step


def saved_steps(workdir):
    """Steps of the checkpoints in a work directory."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
