import itertools
from collections import Counter

import jax
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
        return {"image": columns + np.uint8(10 * index), "caption": f"number {index}"}


def same(example):
    return {"image": example["image"], "condition": {"same": example["image"]}}


def mirrored(example):
    return jax.tree.map(lambda picture: picture[:, ::-1], same(example))


def assert_equal(actual, expected):
    assert actual["index"].tolist() == expected["index"].tolist() and actual["caption"] == expected["caption"]
    jax.tree.map(np.testing.assert_array_equal, actual["inputs"], expected["inputs"])


def test_batch_contents(train):
    def image_and_lineart(example):
        return {"image": example["image"], "condition": {"lineart": example["lineart"]}}

    batch = Batches(train, image_and_lineart, 4, seed=0).batch_at(0)
    assert batch["index"].shape == (4,) and batch["index"].dtype == np.int32
    image, lineart = batch["inputs"]["image"], batch["inputs"]["condition"]["lineart"]
    assert image.shape == (4, 32, 32, 3) and image.dtype == np.uint8
    for row, index in enumerate(batch["index"]):
        np.testing.assert_array_equal(image[row], train[index]["image"])
        np.testing.assert_array_equal(lineart[row], train[index]["lineart"])
        assert batch["caption"][row] == train[index]["caption"]


def test_order_is_pinned():
    """Golden: a new Grain that shuffles otherwise would break the resuming of old runs unnoticed."""
    batches = Batches(Numbered(10), same, 5, seed=0, make_mirrored=mirrored)
    assert [batches.batch_at(step)["index"].tolist() for step in range(3)] == GOLDEN_INDEX
    flipped = [(batches.batch_at(step)["inputs"]["image"][:, 0, 0, 0] % 10 == 3).tolist() for step in range(2)]
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
    whole = Batches(Numbered(20), same, 6, seed=3, make_mirrored=mirrored)
    parts = [
        Batches(Numbered(20), same, 6, seed=3, make_mirrored=mirrored, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for step in (0, 3, 1000):
        batches = [part.batch_at(step) for part in parts]
        joined = {
            "index": np.concatenate([batch["index"] for batch in batches]),
            "caption": [caption for batch in batches for caption in batch["caption"]],
            "inputs": jax.tree.map(lambda *rows: np.concatenate(rows), *[batch["inputs"] for batch in batches]),
        }
        assert_equal(joined, whole.batch_at(step))


def test_other_processes_rows_are_not_read():
    source = Numbered(20)
    Batches(source, same, 8, seed=0, process_index=1, process_count=4).batch_at(0)
    assert len(source.reads) == 2


def test_iterating_from_the_middle_equals_random_access():
    batches = Batches(Numbered(10), same, 4, seed=5, make_mirrored=mirrored)
    for offset, batch in enumerate(itertools.islice(batches.iterate(37), 6)):
        assert_equal(batch, batches.batch_at(37 + offset))
    assert_equal(next(batches.iterate(10**9)), batches.batch_at(10**9))


def test_half_of_the_examples_are_mirrored_as_a_whole():
    batch = Batches(Numbered(10), same, 50, seed=0, make_mirrored=mirrored).batch_at(0)
    image = batch["inputs"]["image"]
    np.testing.assert_array_equal(image, batch["inputs"]["condition"]["same"])
    is_mirrored = image[:, 0, 0, 0] % 10 == 3
    assert 10 < is_mirrored.sum() < 40
    for row, index in enumerate(batch["index"]):
        plain = Numbered(10)[index]["image"]
        np.testing.assert_array_equal(image[row], plain[:, ::-1] if is_mirrored[row] else plain)
    # An example is not mirrored alike in every epoch.
    assert any(len(set(is_mirrored[batch["index"] == index])) == 2 for index in range(10))


class Described(Numbered):
    """Every other example has three captions, and what is read of them."""

    def __getitem__(self, index):
        example = {**super().__getitem__(index), "context": np.int32(0)}
        others = [{"caption": f"again {index} {n}", "context": np.int32(n)} for n in (1, 2)]
        return {**example, "others": others} if index % 2 else example


def read_caption(example):
    return {"image": example["image"], "context": example["context"]}


def captions_drawn(steps, **processes):
    batches = Batches(Described(10), read_caption, 4, seed=3, make_mirrored=mirrored_caption, **processes)
    return [batches.batch_at(step) for step in steps]


def mirrored_caption(example):
    return read_caption(example) | {"image": example["image"][:, ::-1]}


def test_of_several_captions_each_step_draws_one_with_its_inputs():
    drawn = captions_drawn(range(60))
    seen = Counter()
    for batch in drawn:
        for index, caption, context in zip(batch["index"], batch["caption"], batch["inputs"]["context"], strict=True):
            assert caption == (f"again {index} {context}" if context else f"number {index}")
            assert index % 2 or not context
            seen[index % 2, int(context)] += 1
    assert seen[0, 0] == 120 and all(20 < seen[1, number] < 60 for number in range(3))
    # Each time anew, also of the same example.
    assert len({caption for batch in drawn for caption in batch["caption"] if caption.split()[1] == "7"}) == 3
    other_seed = Batches(Described(10), read_caption, 4, seed=4).batch_at(0)
    assert other_seed["caption"] != drawn[0]["caption"]


@pytest.mark.parametrize("process_count", [2, 4])
def test_the_caption_of_a_step_is_the_same_on_any_number_of_processes_and_after_a_resume(process_count):
    steps = range(20, 30)
    whole = captions_drawn(range(30))[20:]
    parts = [captions_drawn(steps, process_index=n, process_count=process_count) for n in range(process_count)]
    for batch, *rows in zip(whole, *parts, strict=True):
        assert [caption for row in rows for caption in row["caption"]] == batch["caption"]
        np.testing.assert_array_equal(
            np.concatenate([row["inputs"]["context"] for row in rows]), batch["inputs"]["context"]
        )


def test_the_order_and_the_mirroring_do_not_change_with_the_captions():
    plain = Batches(Numbered(10), same, 4, seed=3, make_mirrored=mirrored)
    for step, batch in enumerate(captions_drawn(range(10))):
        expected = plain.batch_at(step)
        np.testing.assert_array_equal(batch["index"], expected["index"])
        np.testing.assert_array_equal(batch["inputs"]["image"], expected["inputs"]["image"])


def test_evaluation_takes_the_first_caption():
    (batch,) = ordered_batches(Described(4), read_caption, 4)
    assert batch["caption"] == [f"number {index}" for index in range(4)] and not batch["inputs"]["context"].any()


def test_inputs_are_any_tree_of_arrays():
    def lengths(example):
        length = len(example["caption"])
        return {
            "context": {"tokens": np.full((2, 1), length, np.float32), "ids": np.asarray(example["index"], np.int64)}
        }

    batch = Batches(Numbered(12), lengths, 3, seed=0).batch_at(0)
    context = batch["inputs"]["context"]
    assert context["tokens"].shape == (3, 2, 1) and context["tokens"].dtype == np.float32
    assert context["tokens"][:, 0, 0].tolist() == [len(caption) for caption in batch["caption"]]
    assert context["ids"].dtype == np.int64 and context["ids"].tolist() == batch["index"].tolist()


def test_ordered_batches_keep_the_rest():
    batches = list(ordered_batches(Numbered(10), same, 4))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[2]["caption"] == ["number 8", "number 9"]


class Encoded(Numbered):
    """Examples of a prepared data set in buckets: moments, contexts and two conditions tell their row."""

    def __init__(self, size_index):
        super().__init__(len(size_index))
        self.size_index = np.asarray(size_index)

    def __getitem__(self, index):
        side = 4 + 4 * int(self.size_index[index])
        picture = np.full((side, 8, 3), index, np.uint8)
        inputs = {
            "moments": np.full((side // 4, 2, 8), index, ml_dtypes.bfloat16),
            "context": np.full((3, 5), index, ml_dtypes.bfloat16),
            "condition": {"pose": picture, "depth": picture + np.uint8(100)},
        }
        return {"caption": f"number {index}", "inputs": inputs}


def stored(example):
    return example["inputs"]


def test_encoded_examples_pass_through():
    source = Encoded([0] * 10)
    batch = Batches(source, stored, 4, seed=0).batch_at(0)
    assert batch["inputs"]["moments"].dtype == batch["inputs"]["context"].dtype == ml_dtypes.bfloat16
    for row, index in enumerate(batch["index"]):
        found = jax.tree.map(lambda rows, row=row: rows[row], batch["inputs"])
        jax.tree.map(np.testing.assert_array_equal, found, source[index]["inputs"])


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
        joined = np.concatenate([part.batch_at(step)["inputs"]["moments"] for part in parts])
        np.testing.assert_array_equal(joined, whole.batch_at(step)["inputs"]["moments"])


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
        moments = batch["inputs"]["moments"]
        assert batch["inputs"]["condition"]["pose"].shape == (4, height, width, 3)
        assert moments.shape == (4, height // 8, width // 8, 6)
        np.testing.assert_array_equal(moments[2], source[batch["index"][2]]["inputs"]["moments"])


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
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Batches(**({"source": Numbered(8), "make_inputs": same, "batch_size": 4, "seed": 0} | arguments))


def test_bad_steps():
    batches = Batches(Numbered(8), same, 4, seed=0)
    with pytest.raises(ValueError, match="step is -1"):
        batches.batch_at(-1)
    with pytest.raises(ValueError, match="step is -1"):
        batches.iterate(-1)
