"""Reading prepared data sets, whole and damaged."""

import shutil

import numpy as np
import pytest

from lisa_jax.data.embedded.records import CorruptRecordError
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.preparing.prepare import prepare


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "set"
    prepare(toy.Table(40), toy.task(), folder, workers=2)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "set")


def first_shard(folder):
    return sorted(folder.glob("prepared-train*"))[0]


def test_a_missing_shard_is_named(folder):
    first_shard(folder).unlink()
    with pytest.raises(FileNotFoundError, match=r"prepared-train.array_record-00000-of-00004 is missing"):
        load_prepared(folder)


def test_a_truncated_shard_is_named(folder):
    shard = first_shard(folder)
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(CorruptRecordError, match=r"prepared-train.array_record-00000-of-00004 has \d+ bytes, but was"):
        load_prepared(folder)


def test_a_damaged_record_is_named(folder):
    shard = first_shard(folder)
    content = bytearray(shard.read_bytes())
    content[500:2000] = bytes(1500)
    shard.write_bytes(content)
    source = load_prepared(folder)
    damaged = []
    for index in range(len(source)):
        try:
            source[index]
        except CorruptRecordError as error:
            damaged.append(str(error))
    assert damaged and all("prepared-train.array_record-00000-of-00004 record" in message for message in damaged)
    assert len(damaged) < len(source)


@pytest.mark.parametrize("index", [-1, 10**6])
def test_index_out_of_range(whole, index):
    with pytest.raises(IndexError, match="out of range"):
        load_prepared(whole)[index]


def test_unknown_split_and_folder(whole, tmp_path):
    with pytest.raises(ValueError, match=r"has no split 'validation': it has test, train\."):
        load_prepared(whole, "validation")
    with pytest.raises(FileNotFoundError, match=r"lisa_jax\.json is missing"):
        load_prepared(tmp_path)


def test_the_cache_of_another_base_is_refused(whole):
    source = load_prepared(whole)
    source.check_base("abc")
    with pytest.raises(ValueError, match=r"holds moments and context of another base \(fingerprint abc"):
        source.check_base("def")


def test_where_counts_records_within_their_file(whole):
    source = load_prepared(whole)
    wheres = [source.where(index) for index in range(len(source))]
    assert len(set(wheres)) == len(source)
    assert wheres[0].endswith("00000-of-00004 record 0")
    firsts = [where for where in wheres if where.endswith("record 0")]
    assert len(firsts) == 4


def test_examples_are_the_same_from_several_threads(whole):
    from concurrent.futures import ThreadPoolExecutor

    source = load_prepared(whole)
    expected = [source[index]["inputs"]["moments"].tobytes() for index in range(len(source))]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert (
                list(pool.map(lambda index: source[index]["inputs"]["moments"].tobytes(), range(len(source))))
                == expected
            )


def test_metadata_of_another_version(folder):
    path = folder / "lisa_jax.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 99', 1))
    with pytest.raises(ValueError, match="has version 99, but this is version 2: prepare the data set again"):
        load_prepared(folder)


def test_arrays_are_read_only_views(whole):
    moments = load_prepared(whole)[0]["inputs"]["moments"]
    with pytest.raises(ValueError, match="read-only"):
        moments[:] = 0
    assert np.asarray(moments, np.float32).std() > 0
