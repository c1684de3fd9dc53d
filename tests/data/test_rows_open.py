import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lisa_jax.data.rows import Columns, RowError, open_rows
from lisa_jax.media.decode import decode_picture

COLUMNS = Columns(conditions={"lines": "lineart"}, extras={"category": "category"})


@pytest.fixture(scope="module")
def prepared(openmoji_dir):
    return openmoji_dir / "openmoji" / "size_32" / "1.0.0"


def test_tfds_rows_are_the_data_sets_examples(prepared, held_out):
    rows = pickle.loads(pickle.dumps(open_rows(f"tfds:{prepared}:test", COLUMNS)))
    assert len(rows) == len(held_out)
    for index in (0, len(rows) - 1):
        row, example = rows[index], held_out[index]
        np.testing.assert_array_equal(decode_picture(row.image, row.where), example["image"])
        np.testing.assert_array_equal(decode_picture(row.conditions["lines"], row.where)[:, :, :1], example["lineart"])
        assert (row.caption, row.extras["category"]) == (example["caption"], example["category"])
    assert rows[2].where == "openmoji/size_32/1.0.0 test row 2"


def test_tfds_slices_and_fingerprints(prepared):
    whole = open_rows(f"tfds:{prepared}:train", COLUMNS)
    part = open_rows(f"tfds:{prepared}:train[10:20]", COLUMNS)
    assert len(part) == 10 and part[0].caption == whole[10].caption
    assert part.fingerprint() != whole.fingerprint() == open_rows(str(prepared), COLUMNS).fingerprint()


def test_tfds_errors_say_what_there_is(prepared):
    with pytest.raises(RowError, match=r"^openmoji/size_32/1.0.0: there is no feature 'condition'; .*'lineart'"):
        open_rows(f"tfds:{prepared}:test")
    with pytest.raises(ValueError, match="'dev'"):
        open_rows(f"tfds:{prepared}:dev", COLUMNS)
    with pytest.raises(ValueError, match=r"name the folder of a version, one of \['.*1\.0\.0'\]"):
        open_rows(f"tfds:{prepared.parent}:test", COLUMNS)
    with pytest.raises(ValueError, match="neither a folder nor the name"):
        open_rows("tfds:no_such_data_set", COLUMNS)


def test_a_tfds_data_set_for_tensorflow_only_is_refused(prepared, tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("dataset_info.json", "features.json"):
        content = (prepared / name).read_text().replace("array_record", "tfrecord")
        (tmp_path / "a" / name).write_text(content)
    with pytest.raises(ValueError, match=r"stored as tfrecord.*file_format='array_record'"):
        open_rows(f"tfds:{tmp_path / 'a'}:test", COLUMNS)


def test_a_damaged_record_is_named(prepared, monkeypatch):
    rows = open_rows(f"tfds:{prepared}:test", COLUMNS)

    def broken(self, index):
        raise RuntimeError("checksum\nmismatch")

    monkeypatch.setattr(tfds.core.data_sources.array_record.ArrayRecordDataSource, "__getitem__", broken)
    with pytest.raises(RowError, match=r"^openmoji/.* test row 4: cannot be read \(RuntimeError: checksum mismatch\)"):
        rows[4]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("features.json", b"\xff\xfe{}", "features.json is not UTF-8"),
        (
            "features.json",
            b'{"pythonClassName": "my_features.Evil"}',
            "class 'my_features.Evil', which would be imported",
        ),
        ("features.json", b"{}", "TFDS cannot open"),
        ("features.json", None, "there is no features.json"),
        ("dataset_info.json", b"[]", "dataset_info.json holds a JSON list"),
        ("dataset_info.json", b"{}", "TFDS cannot open .*Invalid version"),
        ("dataset_info.json", b'{"a": ' * 100_000, "nested too deeply"),
        ("state.json", b"{}", "one of save_to_disk: name it as arrow:"),
    ],
)
def test_what_tfds_cannot_read_is_told_before_it_tries(prepared, tmp_path, name, content, message):
    for file in ("dataset_info.json", "features.json"):
        (tmp_path / file).write_bytes((prepared / file).read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_rows(f"tfds:{tmp_path}:test", COLUMNS)
    assert "my_features" not in sys.modules


def test_tfds_folders_of_any_name(prepared, tmp_path):
    folder = tmp_path / "a[1] *?{b,c}@2:test\nd"
    shutil.copytree(prepared, folder)
    for spec in (f"tfds:{folder}:train", f"tfds:{folder}", str(folder)):
        assert open_rows(spec, COLUMNS)[3].caption == open_rows(str(prepared), COLUMNS)[3].caption
    with pytest.raises(ValueError, match=r"the split 'train\[x' cannot be read .*; the splits are \['train', 'test'\]"):
        open_rows(f"tfds:{folder}:train[x", COLUMNS)
    shard = next(folder.glob("*train*"))
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(ValueError, match="is a named pipe, but must be a file"):
        open_rows(str(folder), COLUMNS)


def test_unrecognised_sources(tmp_path):
    for spec in ("hub:someone/something", str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises(
            ValueError, match=r"no source that is recognised.*: write KIND:PLACE, .*'parquet', 'folder'"
        ):
            open_rows(spec)
    with pytest.raises(ValueError, match=r"no source that is recognised \(there is no such file or folder\)"):
        open_rows(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"No \.parquet files found at"):
        open_rows(f"parquet:{tmp_path}/*.parquet")
    with pytest.raises(ValueError, match="names no place"):
        open_rows("parquet:")
    (tmp_path / "shard.tar" / "0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"shard\.tar' is a folder without \.tar files: pack it"):
        open_rows(f"webdataset:{tmp_path}")
    (tmp_path / "a.parquet").touch()
    (tmp_path / "a.tar").touch()
    with pytest.raises(ValueError, match=r"could be any of \['parquet', 'webdataset'\]"):
        open_rows(str(tmp_path))


def test_sources_without_rows_are_refused(tmp_path):
    (tmp_path / "metadata.jsonl").touch()
    with pytest.raises(ValueError, match="holds no rows"):
        open_rows(str(tmp_path))


def test_tensorflow_is_not_imported():
    code = "import sys, lisa_jax.data.rows; assert not {'tensorflow', 'torch', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
