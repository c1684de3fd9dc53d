"""Reading tf.train.Example without protobuf, against protobuf."""

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from lisa_jax.data.prepared.tf_example import bytes_features


@pytest.fixture(scope="module")
def record():
    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature["caption"].bytes_list.value.append("größer als 128 Zeichen ".encode() * 20)
    feature["moments/value"].bytes_list.value.append(np.arange(70_000, dtype=np.uint16).tobytes())
    feature["empty"].bytes_list.value.append(b"")
    feature["moments/shape"].int64_list.value.extend([1, 2, 300])
    feature["weights"].float_list.value.extend([1.0, 2.0])
    feature["names"].bytes_list.value.extend([b"one", b"two"])
    return example.SerializeToString()


def test_single_values_are_those_that_protobuf_reads(record):
    expected = tf_example_pb2.Example.FromString(record).features.feature
    found = bytes_features(record)
    assert found.keys() == {"caption", "moments/value", "empty"}
    for name, value in found.items():
        assert bytes(value) == expected[name].bytes_list.value[0]
    assert found["caption"].obj is record


@pytest.mark.parametrize("length", [1, 3, 100, -1])
def test_a_record_that_ends_early_is_refused(record, length):
    with pytest.raises(ValueError, match=r"a (number without an end|field that is longer|field of type)"):
        bytes_features(record[:length])


def test_a_number_of_a_million_digits_is_refused_at_once():
    with pytest.raises(ValueError, match="a number without an end"):
        bytes_features(b"\x0a" + b"\xff" * 2_000_000)
