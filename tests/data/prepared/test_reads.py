"""Storage that hangs is named while training waits for it."""

import logging
import re
import time

from lisa_jax.data.pipeline import Batches
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.data.prepared.reads import oldest_read
from lisa_jax.preparing.prepare import prepare
from lisa_jax.training.waiting import watched


class Hanging:
    """Records whose reading takes a while."""

    def __init__(self, records):
        self._records = records

    def __getitem__(self, index):
        time.sleep(0.5)
        return self._records[index]


def test_the_shard_and_record_that_a_batch_waits_for_are_named(toy, tmp_path, monkeypatch, caplog):
    prepare(toy.Table(8), toy.task(), tmp_path / "set", workers=1)
    source = load_prepared(tmp_path / "set")
    monkeypatch.setattr(source, "_records", Hanging(source._records))
    batches = Batches(source, lambda example: example["inputs"], batch_size=2, seed=0)
    with caplog.at_level(logging.ERROR):
        next(watched(batches.iterate(3, threads=1, prefetch=1), 3, oldest_read, seconds=0.3))
    message = caplog.records[0].getMessage()
    assert message.startswith("Process 0 of 1 has waited 0 s for the batch of step 3: it is reading ")
    assert re.search(r"prepared-train.array_record-0000\d-of-\d+ record \d, for 0 s\.$", message)
