"""Reading prepared data sets, whole, damaged and of the version before."""

import json
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


def forget_hashes(folder):
    """The data set as version 2 wrote it."""
    path = folder / "lisa_jax.json"
    content = json.loads(path.read_text()) | {"version": 2}
    del content["fingerprint"], content["empty_context"]
    for shard in (shard for shards in content["splits"].values() for shard in shards):
        del shard["sha256"], shard["ends"]
    path.write_text(json.dumps(content))
    return folder


def test_a_missing_shard_is_named(folder):
    first_shard(folder).unlink()
    with pytest.raises(FileNotFoundError, match=r"prepared-train.array_record-00000-of-00004 is missing"):
        load_prepared(folder)


def test_a_truncated_shard_is_named(folder):
    shard = first_shard(folder)
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(CorruptRecordError, match=r"prepared-train.array_record-00000-of-00004 has \d+ bytes, but was"):
        load_prepared(folder)


def test_a_shard_of_another_data_set_or_in_anothers_place_is_named(folder):
    one, other = sorted(folder.glob("prepared-train*"))[:2]
    assert one.stat().st_size == other.stat().st_size
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(CorruptRecordError, match=r"00000-of-00004 is not as it was written \(its hash is another one"):
        load_prepared(folder)


def test_a_damaged_context_of_the_empty_caption_is_named(folder):
    path = folder / "empty_context.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptRecordError, match=r"empty_context\.safetensors is not as it was written"):
        load_prepared(folder)
    forget_hashes(folder)
    path.write_bytes(content[:-8])
    with pytest.raises(CorruptRecordError, match=r"empty_context\.safetensors is damaged \(SafetensorError: .*restore"):
        load_prepared(folder)


def test_every_bit_of_a_record_counts(folder):
    """ArrayRecord keeps a hash of each record: what is read is what was written, or refused."""
    forget_hashes(folder)
    shard, expected = first_shard(folder), [example["caption"] for example in load_prepared(folder)]
    content = shard.read_bytes()
    rng, used = np.random.default_rng(0), np.flatnonzero(np.frombuffer(content, np.uint8)[: 2**16])
    for place, bit in zip(rng.choice(used[used > 64], 20), rng.integers(0, 8, 20), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        shard.write_bytes(damaged)
        source, refused = load_prepared(folder), 0
        for index, caption in enumerate(expected):
            try:
                assert source[index]["caption"] == caption
            except CorruptRecordError:
                refused += 1
        assert refused


def test_a_data_set_is_known_wherever_it_lies_and_only_it(whole, folder, toy, tmp_path):
    known = load_prepared(whole).fingerprint
    assert load_prepared(folder).fingerprint == load_prepared(folder, "test").fingerprint == known
    prepare(toy.Table(40), toy.task(), tmp_path / "again", workers=1)
    assert load_prepared(tmp_path / "again").fingerprint == known
    prepare(
        toy.Table(40), toy.task(computed={"negative": lambda example: example["image"]}), tmp_path / "other", workers=1
    )
    assert load_prepared(tmp_path / "other").fingerprint != known


def test_a_data_set_without_hashes_is_known_by_its_sizes_and_first_records(whole, folder):
    forget_hashes(folder)
    known = load_prepared(folder).fingerprint
    assert known == load_prepared(folder, "test").fingerprint != load_prepared(whole).fingerprint
    one, other = sorted(folder.glob("prepared-test*"))[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert load_prepared(folder).fingerprint != known


def test_a_shard_with_other_records_than_the_metadata_say_is_named(folder):
    forget_hashes(folder)
    path = folder / "lisa_jax.json"
    content = json.loads(path.read_text())
    content["splits"]["train"][1]["runs"][0][1] -= 1
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptRecordError, match=r"00001-of-00004 has (\d+) records, but \d+ were written: restore"):
        load_prepared(folder)


def test_a_record_of_other_shapes_than_the_metadata_say_is_named(folder):
    forget_hashes(folder)
    path = folder / "lisa_jax.json"
    content = json.loads(path.read_text())
    content["features"]["condition.pose"]["shapes"][0] = [10**9, 16, 3]
    path.write_text(json.dumps(content))
    source = load_prepared(folder)
    square = int(np.flatnonzero(source.size_index == 0)[0])
    with pytest.raises(
        CorruptRecordError, match=r"prepared-train.* record \d+ is damaged \(ValueError: cannot reshape"
    ):
        source[square]


def test_a_damaged_record_is_named(folder):
    forget_hashes(folder)
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
    with pytest.raises(ValueError, match=r"has no split 'validation', only 14 test and 26 train: for examples"):
        load_prepared(whole, "validation")
    with pytest.raises(FileNotFoundError, match=r"lisa_jax\.json is missing"):
        load_prepared(tmp_path)


def test_the_cache_of_another_base_is_refused(whole):
    source = load_prepared(whole)
    source.check_base("abc")
    with pytest.raises(
        ValueError, match=r"of another base \(fingerprint abc.*use that base, with the same VAE \(config\.vae\)"
    ):
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
    path.write_text(path.read_text().replace('"version": 3', '"version": 99', 1))
    with pytest.raises(ValueError, match="has version 99, but this is version 3: prepare the data set again"):
        load_prepared(folder)


def test_arrays_are_read_only_views(whole):
    moments = load_prepared(whole)[0]["inputs"]["moments"]
    with pytest.raises(ValueError, match="read-only"):
        moments[:] = 0
    assert np.asarray(moments, np.float32).std() > 0
