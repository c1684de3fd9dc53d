"""The measures of every task. A new task is a file beside this one and its line in MEASURES."""

from lisa_jax.evaluation.measures.depth import DEPTH
from lisa_jax.evaluation.measures.lineart import LINEART
from lisa_jax.evaluation.measures.lowres import LOWRES
from lisa_jax.evaluation.measures.pose import POSE
from lisa_jax.evaluation.measures.segmentation import SEGMENTATION
from lisa_jax.evaluation.measures.task_measures import TaskMeasures
from lisa_jax.evaluation.tasks import name_within, parts_of

MEASURES: dict[str, TaskMeasures] = {
    "lineart": LINEART,
    "lowres": LOWRES,
    "segmentation": SEGMENTATION,
    "pose": POSE,
    "depth": DEPTH,
}


def measures(task: str) -> tuple[str, ...]:
    """Names of the task's measures, those of a composed task "a+b" as "a/measure".

    Raises:
      ValueError: an unknown task.
    """
    for part in parts_of(task):
        if part not in MEASURES:
            raise ValueError(f"No fidelity measure for the condition '{part}': there are {', '.join(MEASURES)}.")
    return tuple(name_within(task, part, name) for part in parts_of(task) for name in MEASURES[part].measures)


def lower_is_better(measure: str) -> bool:
    """Whether a measure falls as fidelity grows; a composed task's part may stand before it: "depth/depth_rmse"."""
    return any(measure.rpartition("/")[2] in task.falling for task in MEASURES.values())


def true_fields() -> tuple[str, ...]:
    """Fields of an example, beside its picture and conditions, that measures hold samples against."""
    pictures = ("references", "conditions")
    return tuple(dict.fromkeys(task.against for task in MEASURES.values() if task.against not in pictures))


def read_tasks() -> tuple[str, ...]:
    """Tasks whose condition only a network can read back from a picture."""
    return tuple(task for task, found in MEASURES.items() if found.reading is not None)
