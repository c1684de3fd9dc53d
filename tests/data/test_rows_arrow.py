import io
import json
import pickle

import datasets
import numpy as np
import pytest
from PIL import Image

from lisa_jax.data.rows import Columns, FirstRows, RowError, open_rows
from lisa_jax.media.decode import decode_picture


def picture(shade):
    return Image.fromarray(np.full((8, 12, 3), shade, np.uint8))


@pytest.fixture
def saved(tmp_path):
    """Two splits as the library itself writes them, one of them in two files."""
    columns = {"image": datasets.Image(), "conditioning_image": datasets.Image(), "text": datasets.Value("string")}

    def split(shades):
        rows = {"image": map(picture, shades), "conditioning_image": map(picture, shades), "text": map(str, shades)}
        rows = {name: list(values) for name, values in rows.items()}
        return datasets.Dataset.from_dict(rows, features=datasets.Features(columns))

    both = datasets.DatasetDict({"train": split([1, 2, 3, 4, 5]), "test": split([9])})
    both.save_to_disk(tmp_path / "both", num_shards={"train": 2, "test": 1})
    return tmp_path / "both"


def test_what_save_to_disk_writes_is_read_with_its_own_column_names(saved):
    rows = pickle.loads(pickle.dumps(open_rows(str(saved))))
    loaded = datasets.load_from_disk(saved)["train"]
    assert [row.caption for row in rows] == loaded["text"]
    for row, example in zip(rows, loaded, strict=True):
        np.testing.assert_array_equal(decode_picture(row.image, row.where), np.asarray(example["image"]))
        condition = decode_picture(row.conditions["condition"], row.where)
        np.testing.assert_array_equal(condition, np.asarray(example["conditioning_image"]))
    assert rows[4].where == "data-00001-of-00002.arrow row 1"


def test_one_split_is_named_and_train_is_the_one_that_is_meant(saved):
    assert [row.caption for row in open_rows(str(saved / "test"))] == ["9"]
    (saved / "train").rename(saved / "dev")
    with pytest.raises(ValueError, match=r"no split train \(there: dev, test\): name the folder of one"):
        open_rows(str(saved))


def test_damaged_arrow_folders_are_told(saved):
    with pytest.raises(RowError, match=r"no column 'mask'; the columns are .*'conditioning_image'.*--condition_column"):
        open_rows(str(saved), Columns(conditions={"mask": "mask"}))
    shard = saved / "train" / "data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:300])
    with pytest.raises(RowError, match=r"^data-00001-of-00002\.arrow: not a readable Arrow file"):
        open_rows(str(saved))
    (saved / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../test/x.arrow"}]}))
    with pytest.raises(ValueError, match="does not list the data set's files"):
        open_rows(str(saved))


@pytest.fixture
def captioned(tmp_path):
    for folder in ("img", "cond"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        data = io.BytesIO()
        picture(index).save(data, "PNG")
        (tmp_path / "img" / f"{index}.png").write_bytes(data.getvalue())
        (tmp_path / "img" / f"{index}.txt").write_text(f" caption {index}\n")
        (tmp_path / "cond" / f"{index}.webp").write_bytes(b"%d" % index)
    return tmp_path


def test_pictures_with_captions_beside_them_and_a_folder_of_conditions(captioned):
    rows = pickle.loads(pickle.dumps(open_rows(str(captioned))))
    assert [row.caption for row in rows] == ["caption 0", "caption 1", "caption 2"]
    assert [row.conditions["condition"] for row in rows] == [b"0", b"1", b"2"]
    assert decode_picture(rows[2].image, "")[0, 0, 0] == 2
    elsewhere = Columns(conditions={"pose": str(captioned / "cond")})
    assert open_rows(str(captioned / "img"), elsewhere)[1].conditions["pose"] == b"1"
    (captioned / "img" / "0.txt").write_text("first\n\n second\n")
    assert (rows[0].caption, rows[0].more_captions) == ("first\n\n second", ())
    by_line = open_rows(str(captioned), Columns(caption_lines=True))
    assert (by_line[0].caption, by_line[0].more_captions) == ("first", ("second",))
    before = open_rows(str(captioned)).fingerprint()
    assert by_line.fingerprint() != before
    (captioned / "img" / "1.txt").write_text("another caption")
    assert open_rows(str(captioned)).fingerprint() != before


def test_two_folders_with_captions_are_told_apart_by_flags(captioned):
    (captioned / "cond" / "0.txt").write_text("of the condition")
    with pytest.raises(ValueError, match=r"\(there: .*cond, .*img\): name that of the images by --source"):
        open_rows(str(captioned))
    row = open_rows(str(captioned / "img"), Columns(conditions={"condition": "../cond"}))[0]
    assert (row.caption, row.conditions["condition"]) == ("caption 0", b"0")


def test_pictures_of_all_endings_are_rows_and_captions_of_other_files_are_told(captioned, caplog):
    for name in ("a.JFIF", "b.ppm", "c.heic", "d.psd", "d.json", "notes.md"):
        (captioned / "img" / name).touch()
    for stem in "abcde":
        (captioned / "img" / f"{stem}.txt").write_text("a caption")
    (captioned / "img" / "notes.txt").touch()
    rows = open_rows(str(captioned / "img"), Columns(conditions={}))
    assert [rows[row].where for row in range(3, len(rows))] == ["a.JFIF", "b.ppm", "c.heic"]
    assert "captions without a picture (" in caplog.text and ".jpg, " in caplog.text
    assert (
        ": 2, which are left out; the first ones are d.json beside d.psd beside d.txt; notes.md beside" in caplog.text
    )


def test_what_lacks_beside_a_picture_is_named(captioned):
    (captioned / "cond" / "0.webp").unlink()
    (captioned / "img" / "1.txt").unlink()
    (captioned / "img" / "2.txt").write_text(" ")
    rows = open_rows(str(captioned))
    for index, message in enumerate(
        ["no picture '0' of 'condition'", "its caption 1.txt is missing", "'2.txt' is empty"]
    ):
        with pytest.raises(RowError, match=rf"^{index}\.png: .*{message}"):
            rows[index]
    kept = open_rows(str(captioned), Columns(keep_empty=True))
    assert (kept[1].caption, kept[2].caption) == ("", "") and kept.fingerprint() != rows.fingerprint()
    first = FirstRows(kept, 2)
    assert len(first) == 2 and first[1].caption == "" and first.fingerprint() != kept.fingerprint()
    with pytest.raises(IndexError):
        first[2]
    (captioned / "img" / "1.txt").symlink_to("/etc/hostname")
    with pytest.raises(RowError, match=r"^1\.png: '1\.txt' of 'caption' lies outside of .*--allow_outside"):
        open_rows(str(captioned), Columns(keep_empty=True))[1]
    (captioned / "more").mkdir()
    (captioned / "more" / "0.png").touch()
    with pytest.raises(ValueError, match=r"no folder 'condition' .*\(folders .*: cond, more\): .*--condition_column"):
        open_rows(str(captioned))
    (captioned / "img" / "0.jpg").touch()
    with pytest.raises(ValueError, match=r"holds both 0\.jpg and 0\.png: rename one"):
        open_rows(str(captioned))
