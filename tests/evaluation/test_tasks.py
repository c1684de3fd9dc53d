import pytest

from lisa_jax.evaluation.tasks import task_of


@pytest.mark.parametrize(
    ("condition", "task"),
    [
        ("lineart", "lineart"),
        ("lisa_jax.data.embedded.openmoji.layer_classes:segmentation", "segmentation"),
        ("seg", "segmentation"),
        (("sr", "lineart"), "lineart+lowres"),
        (("my_module:pose", "depth"), "depth+pose"),
    ],
)
def test_the_task_is_read_off_the_condition(condition, task):
    assert task_of(condition) == task
