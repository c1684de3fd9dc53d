"""Data sets of the first format are still read, as if they had been written today."""

import json

import ml_dtypes
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from lisa_jax.data.prepared.reader import load_prepared

SIZES = ((16, 16), (8, 24))
SHARD = "prepared-train.array_record-00000-of-00001"
RNG = np.random.default_rng(0)
CONTEXT = RNG.normal(size=(2, 2, 4)).astype(ml_dtypes.bfloat16)
MOMENTS = [RNG.normal(size=(height // 8, width // 8, 6)).astype(ml_dtypes.bfloat16) for height, width in SIZES]
CACHES = {"moments": MOMENTS, "context": CONTEXT}
PICTURES = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def write_first_format(folder, features_of_conditions, *, caches):
    """Two examples of two sizes; lisa_jax.json has a field for every kind of input."""
    arrays = dict.fromkeys(features_of_conditions.values(), PICTURES)
    if caches:
        arrays |= {name: [array.view(np.uint16) for array in rows] for name, rows in CACHES.items()}
    else:
        arrays["image"] = PICTURES
    tensors = {
        name: tfds.features.Tensor(shape=(None,) * rows[0].ndim, dtype=rows[0].dtype, encoding="bytes")
        for name, rows in arrays.items()
    }
    features = tfds.features.FeaturesDict({"caption": tfds.features.Text(), **tensors})
    serializer = ExampleSerializer(features.get_serialized_info())
    folder.mkdir()
    writer = ArrayRecordWriter(str(folder / SHARD), "group_size:1,zstd:1")
    for row in range(2):
        example = {"caption": f"number {row}", **{name: rows[row] for name, rows in arrays.items()}}
        writer.write(serializer.serialize_example(features.encode_example(example)))
    writer.close()
    shard = {"file": SHARD, "bytes": (folder / SHARD).stat().st_size, "runs": [[0, 1], [1, 1]]}
    content = {
        "version": 1,
        "sizes": SIZES,
        "conditions": list(features_of_conditions),
        "moments": [moments.shape for moments in MOMENTS] if caches else None,
        "context": CONTEXT[0].shape if caches else None,
        "base": "abc" if caches else None,
        "settings": {},
        "skipped": 0,
        "splits": {"train": [shard]},
    }
    (folder / "lisa_jax.json").write_text(json.dumps(content))
    if caches:
        np.save(folder / "null_context.npy", np.ones((1, 2, 4), np.float32))


@pytest.mark.parametrize("conditions", [{"pose": "condition"}, {"pose": "condition_pose", "seg": "condition_seg"}])
def test_cached_inputs_are_read(tmp_path, conditions):
    write_first_format(tmp_path / "set", conditions, caches=True)
    source = load_prepared(tmp_path / "set")
    assert source.channels == dict.fromkeys(conditions, 3) and source.cached == ("moments", "context")
    assert source.sizes == SIZES and source.size_index.tolist() == [0, 1]
    np.testing.assert_array_equal(source.empty_context, np.ones((1, 2, 4), np.float32))
    source.check_base("abc")
    for row, example in enumerate(source):
        assert example["caption"] == f"number {row}"
        assert example["inputs"].keys() == {"moments", "context", "condition"}
        assert example["inputs"]["condition"].keys() == conditions.keys()
        for picture in example["inputs"]["condition"].values():
            np.testing.assert_array_equal(picture, PICTURES[row])
        for name, rows in CACHES.items():
            assert example["inputs"][name].dtype == ml_dtypes.bfloat16
            np.testing.assert_array_equal(example["inputs"][name], rows[row])


def test_pictures_are_read_where_nothing_is_cached(tmp_path):
    write_first_format(tmp_path / "set", {"pose": "condition"}, caches=False)
    source = load_prepared(tmp_path / "set")
    assert source.cached == () and source.empty_context is None
    for row, example in enumerate(source):
        assert example["inputs"].keys() == {"image", "condition"}
        np.testing.assert_array_equal(example["inputs"]["image"], PICTURES[row])
