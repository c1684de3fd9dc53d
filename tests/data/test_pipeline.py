import itertools

import ml_dtypes
import numpy as np
import pytest

from lisa_jax.data.embedded.openmoji import CorruptRecordError
from lisa_jax.data.pipeline import Batches, ordered_batches
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.preparing.prepare import prepare

GOLDEN_INDEX = [[1, 2, 4, 5, 9], [7, 8, 6, 0, 3], [9, 6, 1, 8, 2]]
GOLDEN_FLIPPED = [[False, True, True, True, False], [True, False, True, True, False]]

BUCKETS = [0] * 11 + [1] * 5 + [2] * 2 + [0] * 4
GOLDEN_BUCKETS = [[0, 1, 8, 10], [2, 9, 20, 7], [4, 21, 19, 18], [12, 14, 11, 15]]


class Numbered:
    """Examples whose pixels tell their row: image rows count columns, so that a flip can be seen."""

    def __init__(self, length):
        self.length = length
        self.reads = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        columns = np.broadcast_to(np.arange(4, dtype=np.uint8)[None, :, None], (4, 4, 3))
        return {"image": columns + np.uint8(10 * index), "caption": f"number {index}", "category": index % 3}


def same(example):
    return example["image"]


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_batch_contents(train):
    batch = Batches(train, "lineart", 4, seed=0).batch_at(0)
    assert batch["image"].shape == batch["condition"].shape == (4, 32, 32, 3)
    assert batch["image"].dtype == batch["condition"].dtype == np.uint8
    assert batch["category"].shape == (4,) and batch["category"].dtype == np.int32
    for row, index in enumerate(batch["index"]):
        np.testing.assert_array_equal(batch["image"][row], train[index]["image"])
        np.testing.assert_array_equal(batch["condition"][row, ..., :1], train[index]["lineart"])
        assert batch["caption"][row] == train[index]["caption"]
        assert batch["category"][row] == train[index]["category"]


def test_order_is_pinned():
    """Golden: a new Grain that shuffles otherwise would break the resuming of old runs unnoticed."""
    batches = Batches(Numbered(10), same, 5, seed=0, flip=True)
    assert [batches.batch_at(step)["index"].tolist() for step in range(3)] == GOLDEN_INDEX
    flipped = [(batches.batch_at(step)["image"][:, 0, 0, 0] % 10 == 3).tolist() for step in range(2)]
    assert flipped == GOLDEN_FLIPPED


def test_every_epoch_is_another_permutation():
    batches = Batches(Numbered(10), same, 4, seed=1)  # 4 does not divide 10: batches cross the epochs
    order = np.concatenate([batches.batch_at(step)["index"] for step in range(5)])
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10].tolist() != order[10:].tolist()


def test_seeds_give_unrelated_orders():
    """Grain counts the epoch onto the seed: seed 1 must not be seed 0 one epoch later."""
    first, second = (
        np.concatenate([Batches(Numbered(20), same, 10, seed=seed).batch_at(step)["index"] for step in range(6)])
        for seed in (0, 1)
    )
    assert first[20:40].tolist() != second[:20].tolist()
    assert first[:20].tolist() != second[:20].tolist()


@pytest.mark.parametrize("process_count", [2, 3, 6])
def test_processes_hold_contiguous_rows_of_the_same_batch(process_count):
    whole = Batches(Numbered(20), same, 6, seed=3, flip=True)
    parts = [
        Batches(Numbered(20), same, 6, seed=3, flip=True, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step in (0, 3, 1000):
        batches = [part.batch_at(step) for part in parts]
        joined = {
            name: np.concatenate([np.asarray(batch[name]) for batch in batches])
            for name in ("image", "index", "caption")
        }
        assert_equal(joined, {name: whole.batch_at(step)[name] for name in joined})


def test_other_processes_rows_are_not_read():
    source = Numbered(20)
    Batches(source, same, 8, seed=0, process_index=1, process_count=4).batch_at(0)
    assert len(source.reads) == 2


def test_iterating_from_the_middle_equals_random_access():
    batches = Batches(Numbered(10), same, 4, seed=5, flip=True)
    for offset, batch in enumerate(itertools.islice(batches.iterate(37), 6)):
        assert_equal(batch, batches.batch_at(37 + offset))
    assert_equal(next(batches.iterate(10**9)), batches.batch_at(10**9))


def test_flip_mirrors_image_and_condition_together():
    batches = Batches(Numbered(10), same, 50, seed=0, flip=True)
    batch = batches.batch_at(0)
    np.testing.assert_array_equal(batch["image"], batch["condition"])
    flipped = batch["image"][:, 0, 0, 0] % 10 == 3
    assert 10 < flipped.sum() < 40
    for row, index in enumerate(batch["index"]):
        plain = Numbered(10)[index]["image"]
        np.testing.assert_array_equal(batch["image"][row], plain[:, ::-1] if flipped[row] else plain)
    # An example is not flipped alike in every epoch.
    assert any(len(set(flipped[batch["index"] == index])) == 2 for index in range(10))


def test_transforms_run_in_order_on_each_example():
    def length(example):
        return {**example, "length": len(example["caption"])}

    def double(example):
        return {**example, "twice": np.full(2, 2 * example["length"], np.float32)}

    batch = Batches(Numbered(12), same, 3, seed=0, transforms=[length, double]).batch_at(0)
    assert batch["length"].tolist() == [len(caption) for caption in batch["caption"]]
    assert batch["twice"].shape == (3, 2) and batch["twice"].dtype == np.float32
    np.testing.assert_array_equal(batch["twice"][:, 0], 2 * batch["length"])


def test_ordered_batches_keep_the_rest():
    batches = list(ordered_batches(Numbered(10), same, 4))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[2]["caption"] == ["number 8", "number 9"]


class Encoded(Numbered):
    """Examples of a prepared data set: no image, and two conditions; `size_index` puts them into buckets."""

    cached = ("moments", "context")

    def __init__(self, size_index):
        super().__init__(len(size_index))
        self.size_index = np.asarray(size_index)

    def __getitem__(self, index):
        side = 4 + 4 * int(self.size_index[index])
        picture = np.full((side, 8, 3), index, np.uint8)
        return {
            "moments": np.full((side // 4, 2, 8), index, ml_dtypes.bfloat16),
            "context": np.full((3, 5), index, ml_dtypes.bfloat16),
            "condition": {"pose": picture, "depth": picture + np.uint8(100)},
            "caption": f"number {index}",
            "category": 0,
        }


def stored(example):
    return example["condition"]


def test_encoded_examples_pass_through():
    batch = Batches(Encoded([0] * 10), stored, 4, seed=0).batch_at(0)
    assert "image" not in batch
    assert batch["moments"].shape == (4, 1, 2, 8) and batch["moments"].dtype == ml_dtypes.bfloat16
    assert batch["context"].shape == (4, 3, 5) and batch["context"].dtype == ml_dtypes.bfloat16
    for row, index in enumerate(batch["index"]):
        assert (batch["moments"][row] == index).all() and (batch["context"][row] == index).all()
        assert (batch["condition"]["pose"][row] == index).all()
        assert (batch["condition"]["depth"][row] == index + 100).all()


def test_conditions_by_name_are_flipped_with_the_image():
    def both(example):
        return {"pose": example["image"], "depth": example["image"] + np.uint8(5)}

    batch = Batches(Numbered(10), both, 20, seed=0, flip=True).batch_at(0)
    np.testing.assert_array_equal(batch["condition"]["pose"], batch["image"])
    np.testing.assert_array_equal(batch["condition"]["depth"], batch["image"] + np.uint8(5))


def test_cached_moments_are_not_flipped():
    with pytest.raises(ValueError, match="cached moments, which cannot be mirrored: set flip to False"):
        Batches(Encoded([0] * 10), stored, 4, seed=0, flip=True)


def test_a_batch_holds_one_bucket_and_no_example_is_lost():
    source, batch_size, epochs = Encoded(BUCKETS), 4, 12
    batches = Batches(source, stored, batch_size, seed=3)
    steps = sum(epochs * BUCKETS.count(bucket) // batch_size for bucket in range(3))
    seen = [batches.batch_at(step)["index"] for step in range(steps)]
    streams = {0: [], 1: [], 2: []}
    for index in seen:
        (bucket,) = set(source.size_index[index])
        streams[bucket].extend(index)
    for bucket, stream in streams.items():
        rows = np.flatnonzero(source.size_index == bucket).tolist()
        # Nothing but the remainder that does not fill a batch is left for later.
        assert epochs * len(rows) - batch_size < len(stream) <= epochs * len(rows)
        for start in range(0, len(stream) - len(rows) + 1, len(rows)):
            assert sorted(stream[start : start + len(rows)]) == rows
    buckets = [source.size_index[index[0]] for index in seen]
    assert len({tuple(buckets[start : start + 4]) for start in range(0, len(buckets) - 4, 4)}) > 4


def test_buckets_come_in_proportion_in_every_epoch():
    source, batch_size = Encoded([0] * 40 + [1] * 20), 4
    batches = Batches(source, stored, batch_size, seed=0)
    for epoch in range(3):
        indices = np.concatenate([batches.batch_at(15 * epoch + step)["index"] for step in range(15)])
        assert sorted(indices) == list(range(60))


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_share_batches_of_buckets(process_count):
    whole = Batches(Encoded(BUCKETS), stored, 4, seed=1)
    parts = [
        Batches(Encoded(BUCKETS), stored, 4, seed=1, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step in (0, 5, 17, 1000):
        joined = np.concatenate([part.batch_at(step)["moments"] for part in parts])
        np.testing.assert_array_equal(joined, whole.batch_at(step)["moments"])


def test_iterating_over_buckets_from_the_middle():
    batches = Batches(Encoded(BUCKETS), stored, 4, seed=5)
    for offset, batch in enumerate(itertools.islice(batches.iterate(37), 6)):
        np.testing.assert_array_equal(batch["index"], batches.batch_at(37 + offset)["index"])
    assert next(batches.iterate(10**8))["index"].tolist() == batches.batch_at(10**8)["index"].tolist()


def test_order_of_buckets_is_pinned():
    batches = Batches(Encoded(BUCKETS), stored, 4, seed=0)
    assert [batches.batch_at(step)["index"].tolist() for step in range(4)] == GOLDEN_BUCKETS


def test_ordered_batches_go_bucket_by_bucket():
    indices = [batch["index"].tolist() for batch in ordered_batches(Encoded([1, 0, 1, 0, 0]), stored, 2)]
    assert indices == [[1, 3], [4], [0, 2]]


def test_a_prepared_data_set_in_batches(toy, tmp_path):
    prepare(toy.Table(30), toy.task(), tmp_path / "set", workers=2)
    source = load_prepared(tmp_path / "set")
    batches = Batches(source, stored, 4, seed=0)
    for batch in itertools.islice(batches.iterate(), 8):
        (size_index,) = set(source.size_index[batch["index"]])
        height, width = toy.SIZES[size_index]
        assert batch["condition"]["pose"].shape == (4, height, width, 3)
        assert batch["moments"].shape == (4, height // 8, width // 8, 6)
        np.testing.assert_array_equal(batch["moments"][2], source[batch["index"][2]]["moments"])


def test_damaged_record_reaches_the_training_loop():
    class Damaged(Numbered):
        def __getitem__(self, index):
            raise CorruptRecordError(f"Record {index} is damaged.")

    with pytest.raises(CorruptRecordError, match="is damaged"):
        next(Batches(Damaged(10), same, 4, seed=0).iterate())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch_size is 5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"process_index": 2, "process_count": 2}, "process_index is 2"),
        ({"seed": -1}, "seed is -1"),
        ({"source": Numbered(0)}, "holds no examples"),
        ({"condition": "canni"}, "Unknown condition 'canni'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Batches(**({"source": Numbered(8), "condition": same, "batch_size": 4, "seed": 0} | arguments))


def test_bad_steps():
    batches = Batches(Numbered(8), same, 4, seed=0)
    with pytest.raises(ValueError, match="step is -1"):
        batches.batch_at(-1)
    with pytest.raises(ValueError, match="step is -1"):
        batches.iterate(-1)
