"""Input that keeps training waiting is reported while it does, with what is being read."""

import logging
import time

from lisa_jax.data.prepared.reads import oldest_read, reading
from lisa_jax.training.waiting import watched


def test_a_slow_batch_is_reported_with_its_step_and_the_record(caplog):
    def batches():
        yield "a"
        with reading(lambda: "train-00001.array_record record 5"):
            time.sleep(0.5)
        yield "b"
        time.sleep(0.25)

    with caplog.at_level(logging.ERROR):
        assert list(watched(batches(), start_step=7, reading=oldest_read, seconds=0.2)) == ["a", "b"]
        time.sleep(0.3)
    first, second, third = [record.getMessage() for record in caplog.records]
    assert first == (
        "Process 0 of 1 has waited 0 s for the batch of step 8: "
        "it is reading train-00001.array_record record 5, for 0 s."
    )
    assert "batch of step 8" in second
    assert "batch of step 9: what it is reading is not known" in third
    assert oldest_read() is None


def test_quick_batches_are_passed_on_in_silence(caplog):
    assert list(watched(iter(range(3)), start_step=0, seconds=5)) == [0, 1, 2]
    assert not caplog.records
