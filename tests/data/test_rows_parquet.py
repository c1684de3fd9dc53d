import io
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lisa_jax.data.rows import Columns, RowError, cells, open_rows
from lisa_jax.data.rows import parquet as parquet_rows
from lisa_jax.media.decode import decode_picture

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value, mode="RGB", size=(4, 4)):
    file = io.BytesIO()
    Image.new(mode, size, value).save(file, "PNG")
    return file.getvalue()


def table(first, count):
    numbers = range(first, first + count)
    return pa.table(
        {
            "image": pa.array([{"bytes": png((i % 256, 0, 0)), "path": f"{i}.png"} for i in numbers], PICTURE),
            "condition": pa.array([png((0, i % 256, 0)) for i in numbers], pa.binary()),
            "caption": [f"picture {i}" for i in numbers],
        }
    )


@pytest.fixture
def folder(tmp_path):
    pq.write_table(table(0, 50), tmp_path / "train-00000-of-00002.parquet", row_group_size=20)
    pq.write_table(table(50, 30), tmp_path / "train-00001-of-00002.parquet", row_group_size=30)
    return tmp_path


def number(row):
    return int(row.caption.split()[1])


def test_rows_in_file_order_with_their_pictures_and_places(folder):
    rows = open_rows(f"parquet:{folder}")
    assert len(rows) == 80
    assert [number(rows[i]) for i in range(80)] == list(range(80))
    row = rows[67]
    assert row.where == "train-00001-of-00002.parquet row 17"
    assert decode_picture(row.image, row.where)[0, 0].tolist() == [67, 0, 0]
    assert decode_picture(row.conditions["condition"], row.where)[0, 0].tolist() == [0, 67, 0]
    with pytest.raises(IndexError, match="80"):
        rows[80]


def test_any_order_any_thread_any_process_gives_the_same_rows(folder):
    rows = pickle.loads(pickle.dumps(open_rows(str(folder))))
    order = list(range(80)) * 2
    random.Random(0).shuffle(order)
    assert [number(rows[i]) for i in order] == order
    with ThreadPoolExecutor(8) as threads:
        assert [number(row) for row in threads.map(rows.__getitem__, order)] == order


def test_reading_in_order_decodes_each_row_group_once(folder, monkeypatch):
    opened = []
    reader = parquet_rows._Reader

    def counting(*args):
        opened.append(args)
        return reader(*args)

    monkeypatch.setattr(parquet_rows, "_Reader", counting)
    rows = open_rows(f"parquet:{folder}/*.parquet")
    for i in range(80):
        rows[i]
        rows[max(i - 20, 0)]  # What prefetching threads do: lag behind a little.
    assert len(opened) == 4
    assert len(rows._windows) <= parquet_rows._KEPT_WINDOWS


def test_nested_columns_lists_of_captions_and_extras(tmp_path):
    rows = [{"data": {"picture": {"bytes": png("red"), "path": None}, "note": 7}, "text": ["first", "second"]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = Columns(image="data.picture", conditions={}, caption="text", extras={"note": "data.note"})
    row = open_rows(f"parquet:{tmp_path}/a.parquet", columns)[0]
    assert decode_picture(row.image, row.where)[0, 0].tolist() == [255, 0, 0]
    assert (row.caption, row.more_captions, row.extras, row.conditions) == ("first", ("second",), {"note": 7}, {})


def test_missing_column_names_the_file_and_what_there_is(folder):
    pq.write_table(table(0, 2).rename_columns(["image", "conditioning", "text"]), folder / "train-9.parquet")
    with pytest.raises(RowError, match=r"^train-9.parquet: there is no column 'caption'; .*'image', 'conditioning'"):
        open_rows(f"parquet:{folder}")
    nested = pa.Table.from_pylist([{"data": {"picture": b"", "note": 1}}])
    pq.write_table(nested, folder / "nested.parquet")
    with pytest.raises(RowError, match=r"no column 'data.image'.*'data.picture', 'data.note'"):
        open_rows(f"parquet:{folder}/nested.parquet", Columns("data.image", {}, "data.note"))
    with pytest.raises(RowError, match="column 'caption' is of type string, but a picture column must be binary"):
        open_rows(f"parquet:{folder}/train-0*.parquet", Columns(image="caption"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("caption", "  ", "the caption in 'caption' is empty"),
        ("caption", None, "the caption in 'caption' is empty"),
        ("image", None, "the picture in 'image' is empty"),
        ("image", {"bytes": None, "path": "a/b.png"}, "only names the file 'a/b.png'"),
        ("condition", b"", "the picture in 'condition' is empty"),
    ],
)
def test_a_bad_row_is_named_and_its_neighbours_are_not_touched(tmp_path, column, value, message):
    records = table(0, 3).to_pylist()
    records[1][column] = value
    pq.write_table(pa.Table.from_pylist(records, schema=table(0, 1).schema), tmp_path / "a.parquet")
    rows = open_rows(f"parquet:{tmp_path}")
    with pytest.raises(RowError, match=rf"^a.parquet row 1: .*{message}"):
        rows[1]
    assert number(rows[0]) == 0 and number(rows[2]) == 2


def test_pictures_that_are_only_named_are_read_below_the_tables_folder(tmp_path):
    folder = tmp_path / "table"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "a.png").write_bytes(png("red"))
    names = ["a.png", str(folder / "a.png"), "../a.png", str(tmp_path / "a.png")]
    pictures = pa.array([{"bytes": None, "path": name} for name in names], PICTURE)
    pq.write_table(pa.table({"image": pictures, "caption": ["x"] * 4}), folder / "a.parquet")
    rows = open_rows(str(folder), Columns(conditions={}))
    for index in (0, 1):
        assert rows[index].image == png("red")
    for index in (2, 3):
        with pytest.raises(RowError, match=rf"^a.parquet row {index}: .* lies outside of .*--allow_outside"):
            rows[index]
        assert open_rows(str(folder), Columns(conditions={}), allow_outside=True)[index].image == png("red")


def test_damaged_files_are_named(folder):
    (folder / "train-5.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(RowError, match=r"^train-5.parquet: not a readable Parquet file"):
        open_rows(f"parquet:{folder}")
    # A page in the middle is overwritten: the footer still reads.
    broken = folder / "train-5.parquet"
    pq.write_table(table(0, 40), broken, row_group_size=20)
    middle = pq.ParquetFile(broken).metadata.row_group(0).column(0)
    data = bytearray(broken.read_bytes())
    data[middle.file_offset : middle.file_offset + 60] = b"\xff" * 60
    broken.write_bytes(bytes(data))
    rows = open_rows(f"parquet:{broken}")
    for row in (0, 3, 0):
        with pytest.raises(RowError, match=f"^train-5.parquet row {row}: cannot be read"):
            rows[row]
    assert number(rows[20]) == 20


def test_a_folder_of_several_splits_is_refused(folder):
    pq.write_table(table(0, 2), folder / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=r"holds several splits \(test, train\)"):
        open_rows(f"parquet:{folder}")
    assert len(open_rows(f"parquet:{folder}/train-*.parquet")) == 80


def test_fingerprint_follows_files_and_columns_but_not_the_place(folder, tmp_path_factory):
    rows = open_rows(f"parquet:{folder}")
    moved = tmp_path_factory.mktemp("moved")
    for file in folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert open_rows(str(moved)).fingerprint() == rows.fingerprint()
    assert open_rows(str(folder), Columns(conditions={})).fingerprint() != rows.fingerprint()
    pq.write_table(table(80, 1), moved / "train-00002.parquet")
    assert open_rows(str(moved)).fingerprint() != rows.fingerprint()


def test_numbers_are_no_captions(tmp_path):
    pq.write_table(pa.table({"image": [png("red")], "caption": [3]}), tmp_path / "a.parquet")
    with pytest.raises(RowError, match="of type int, but must be text"):
        open_rows(str(tmp_path), Columns(conditions={}))[0]


def test_files_and_folders_of_any_name(tmp_path):
    folder = tmp_path / "a[1] *?{b,c} ünï\nd"
    folder.mkdir()
    pq.write_table(table(0, 2), folder / "a[1],*.parquet")
    for source in (folder, folder / "a[1],*.parquet"):
        assert number(open_rows(str(source))[1]) == 1


def test_what_is_no_file_is_not_passed_over(folder):
    (folder / "train-2.parquet").symlink_to(folder / "nowhere")
    with pytest.raises(OSError, match=r"train-2.parquet"):
        open_rows(str(folder))
    (folder / "train-2.parquet").unlink()
    os.mkfifo(folder / "train-2.parquet")
    for source in (folder, folder / "train-2.parquet", f"{folder}/*.parquet"):
        with pytest.raises(ValueError, match=r"train-2.parquet' is a named pipe, but must be a file: leave it out"):
            open_rows(str(source))


@pytest.mark.parametrize("dictionary", [False, True])
def test_cells_of_too_many_bytes_are_bad_rows_and_few_of_them_are_in_memory(tmp_path, monkeypatch, dictionary):
    monkeypatch.setattr(parquet_rows, "MAX_BYTES", 10_000)
    monkeypatch.setattr(cells, "MAX_BYTES", 10_000)
    monkeypatch.setattr(parquet_rows, "_WINDOW_BYTES", 40_000)
    monkeypatch.setattr(parquet_rows, "_REPEATED_BYTES", 40_000)
    monkeypatch.setattr(parquet_rows, "_KEPT_BYTES", 80_000)
    values = [bytes(9_000)] * 20 + [bytes(20_000)] + [bytes(9_000)] * 3
    columns = {"image": pa.array(values, pa.binary()), "caption": ["x"] * 24}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", use_dictionary=dictionary)
    rows = open_rows(str(tmp_path), Columns(conditions={}))
    for index in range(24):
        if index == 20:
            with pytest.raises(RowError, match=r"^a.parquet row 20: 'image' has 20,004 bytes, but more than 10,000"):
                rows[index]
        else:
            assert len(rows[index].image) == 9_000
        assert sum(window.nbytes for window in rows._windows.values()) < 80_000 + 40_000
    monkeypatch.setattr(parquet_rows, "_Reader", lambda *_: pytest.fail("cells were decoded"))
    large = pa.table({"image": pa.array(values[20:21] * 8, pa.binary()), "caption": ["x"] * 8})
    pq.write_table(large, tmp_path / "a.parquet", use_dictionary=False)
    rows = open_rows(str(tmp_path), Columns(conditions={}))
    with pytest.raises(RowError, match=r"^a.parquet row 7: the cells of its row group have 20,007 bytes on average"):
        rows[7]


def test_a_pointer_in_place_of_a_file_is_told(tmp_path):
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(ValueError, match=r"a\.parquet' is a Git LFS pointer .* `git lfs pull` fetches"):
        open_rows(str(tmp_path))


def test_a_name_in_the_schema_that_is_no_text_is_told(tmp_path):
    pq.write_table(table(0, 2).append_column("remark", pa.array([1, 2])), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    # Without Arrow's copy of the schema, Parquet's own counts.
    (tmp_path / "a.parquet").write_bytes(
        data.replace(b"ARROW:schema", b"arrow:schema").replace(b"remark", b"\xffemark")
    )
    with pytest.raises(RowError, match=r"^a.parquet: not a readable Parquet file"):
        open_rows(str(tmp_path))


def test_columns_of_names_and_columns_that_are_there_twice(tmp_path):
    addresses = pa.table({"image": ["http://example.org/a.png"], "caption": ["x"]})
    pq.write_table(addresses, tmp_path / "a.parquet")
    with pytest.raises(
        RowError, match=r"is of type string.*; names and addresses are not followed: store the pictures"
    ):
        open_rows(str(tmp_path), Columns(conditions={}))
    twice = pa.table([pa.array([png("red")]), pa.array(["x"]), pa.array(["y"])], names=["image", "caption", "caption"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(RowError, match="several columns are named 'caption'"):
        open_rows(str(tmp_path), Columns(conditions={}))


def test_captions_that_are_no_text_are_bad_rows(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    pq.write_table(pa.table({"image": [png("red")], "caption": broken}), tmp_path / "a.parquet")
    with pytest.raises(RowError, match=r"^a.parquet row 0: .*(cannot be read|not UTF-8)"):
        open_rows(str(tmp_path), Columns(conditions={}))[0]
