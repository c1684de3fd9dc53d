import io
import json
import pickle
import tarfile

import pytest

from lisa_jax.data.rows import Columns, RowError, open_rows


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def sample(key, **replaced):
    members = {"jpg": f"image {key}", "condition.png": f"pose {key}", "txt": f"caption {key}\n"} | replaced
    return [(f"{key}.{name}", data.encode()) for name, data in members.items() if data is not None]


@pytest.fixture
def folder(tmp_path):
    write_tar(tmp_path / "train-0000.tar", sample("000") + sample("001"))
    # A long name takes an extra header block; README and directories are no rows.
    long = "deep/" * 30 + "002"
    write_tar(tmp_path / "train-0001.tar", [("README", b"hello"), (".hidden.txt", b"x"), *sample(long), *sample("003")])
    return tmp_path


def test_rows_in_shard_order(folder):
    rows = pickle.loads(pickle.dumps(open_rows(f"webdataset:{folder}")))
    assert len(rows) == 4
    assert [row.image.decode()[-3:] for row in map(rows.__getitem__, range(4))] == ["000", "001", "002", "003"]
    row = rows[3]
    assert row.where == "train-0001.tar row 003"
    assert (row.image, row.conditions, row.caption) == (b"image 003", {"condition": b"pose 003"}, "caption 003")
    assert len(open_rows(f"{folder}/train-0000.tar")) == 2


def test_scattered_members_other_names_and_json_captions(folder):
    fields = json.dumps({"text": ["one", "two"], "width": 640})
    write_tar(
        folder / "b.tar",
        [("a.json", fields.encode()), ("b.JPG", b"B"), ("a.target.webp", b"A"), ("a.seg.png", b"S"), ("a.jpg", b"x")],
    )
    columns = Columns("target", {"seg": "seg.png"}, "text", extras={"width": "width", "seg": "seg"})
    row = open_rows(f"{folder}/b.tar", columns)[0]
    assert (row.image, row.conditions["seg"], row.caption) == (b"A", b"S", "one")
    assert row.extras == {"width": 640, "seg": b"S"}


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"jpg": None}, r"there is no picture 'image'; the extensions are \['condition.png', 'txt'\]"),
        ({"condition.png": ""}, "nothing is stored for 'condition'"),
        ({"txt": " "}, "caption in 'caption' is empty"),
        ({"txt": None}, "there is no 'caption'"),
        ({"txt": None, "json": "{"}, "the json file is not JSON"),
        ({"txt": None, "json": '{"text": "a"}'}, r"no field 'caption'; the fields are \['text'\]"),
    ],
)
def test_a_bad_row_is_named(tmp_path, replaced, message):
    write_tar(tmp_path / "a.tar", sample("0") + sample("1", **replaced) + sample("2"))
    rows = open_rows(str(tmp_path))
    assert rows[0].caption == "caption 0" and rows[2].caption == "caption 2"
    with pytest.raises(RowError, match=rf"^a.tar row 1: .*{message}"):
        rows[1]


def test_wrong_columns_fail_at_once(folder):
    with pytest.raises(RowError, match=r"no row has a file for the condition pose, .*'condition.png'"):
        open_rows(str(folder), Columns(conditions={"pose": "pose"}))
    with pytest.raises(RowError, match="no row has a file for the caption"):
        open_rows(str(folder), Columns(caption="text"))


def test_damaged_shards_lose_no_row_silently(folder):
    path = folder / "train-0000.tar"
    whole = path.read_bytes()
    # The header of the fourth member: tarfile would stop there without a word.
    path.write_bytes(whole[:3072] + b"\xff" * 512 + whole[3584:])
    with pytest.raises(RowError, match=r"^train-0000.tar: the tar file is damaged at byte 3072"):
        open_rows(str(folder))
    for length in (3072 + 256, 3072 + 512 + 4):
        path.write_bytes(whole[:length])
        with pytest.raises(RowError, match=r"^train-0000.tar: "):
            open_rows(str(folder))
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(RowError, match=r"^train-0000.tar: not a readable tar file"):
        open_rows(str(folder))
    write_tar(path, sample("0"), "w:gz")
    with pytest.raises(RowError, match="compressed shards must be unpacked"):
        open_rows(str(folder))
    write_tar(path, sample("0") + sample("0"))
    with pytest.raises(RowError, match=r"^train-0000.tar row 0: the shard holds '0.jpg' twice"):
        open_rows(str(folder))


def test_a_shard_that_changes_later_is_noticed(folder):
    rows = open_rows(str(folder))
    before = rows.fingerprint()
    path = folder / "train-0000.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RowError, match=r"^train-0000.tar row 001: the tar file ends"):
        rows[1]
    assert rows.fingerprint() != before
