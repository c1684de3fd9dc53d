import csv
import json
import pickle

import pytest

from lisa_jax.data.rows import Columns, RowError, open_rows


def write_jsonl(folder, lines):
    (folder / "metadata.jsonl").write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n")


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "poses"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            (tmp_path / kind / f"{i}.png").write_bytes(f"{kind} {i}".encode())
    return tmp_path


def records():
    return [
        {"file_name": f"images/{i}.png", "condition_file_name": f"poses/{i}.png", "caption": f"dünn, {i}\n", "n": i}
        for i in range(3)
    ]


def check(rows):
    assert len(rows) == 3
    for i in range(3):
        row = rows[i]
        assert row.image == f"images {i}".encode()
        assert row.conditions == {"condition": f"poses {i}".encode()}
        assert row.caption == f"dünn, {i}"


def test_jsonl(folder):
    write_jsonl(folder, records())
    rows = pickle.loads(pickle.dumps(open_rows(f"folder:{folder}")))
    check(rows)
    assert rows[1].where == "metadata.jsonl row 1"


def test_csv_with_quoted_line_breaks_and_a_byte_order_mark(folder):
    with (folder / "metadata.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, records()[0])
        writer.writeheader()
        writer.writerows(records())
    check(open_rows(str(folder)))


@pytest.mark.parametrize("field", ["pose", "pose_file", "pose_file_name"])
def test_columns_by_any_of_their_names(folder, field):
    write_jsonl(folder, [{"image": "images/1.png", field: "poses/2.png", "text": ["one", "two"], "n": 5}])
    columns = Columns(conditions={"pose": "pose"}, caption="text", extras={"n": "n"})
    row = open_rows(str(folder), columns)[0]
    assert (row.image, row.conditions["pose"], row.caption, row.extras) == (b"images 1", b"poses 2", "one", {"n": 5})


def test_another_image_column_is_not_mistaken_for_file_name(folder):
    write_jsonl(folder, [{"file_name": "images/0.png", "target": "poses/1.png", "caption": "a"}])
    columns = Columns("target", {"source": "file_name"})
    row = open_rows(str(folder), columns)[0]
    assert (row.image, row.conditions["source"]) == (b"poses 1", b"images 0")


def test_extras_may_be_files(folder):
    write_jsonl(folder, [{"file_name": "images/0.png", "caption": "a", "seg_file_name": "poses/1.png"}])
    for column in ("seg", "seg_file_name"):
        columns = Columns(conditions={}, extras={"labels": column})
        assert open_rows(str(folder), columns)[0].extras == {"labels": b"poses 1"}


def test_bad_lines_are_rows_of_their_own(folder):
    good = records()
    missing = {**good[1], "file_name": "images/9.png"}
    lacking = {name: value for name, value in good[1].items() if name != "condition_file_name"}
    write_jsonl(folder, [good[0], '{"file_name": ', missing, lacking, {**good[1], "caption": ""}, good[2], "7"])
    rows = open_rows(str(folder))
    assert rows[0].image == b"images 0" and rows[5].image == b"images 2"
    for index, message in [
        (1, "the line is not JSON"),
        (2, r"'images/9.png' of 'image' cannot be read \(No such file"),
        (3, "there is no 'condition'; the fields are .*'file_name'"),
        (4, "caption in 'caption' is empty"),
        (6, "the line is no record"),
    ]:
        with pytest.raises(RowError, match=rf"^metadata.jsonl row {index}: .*{message}"):
            rows[index]


def test_csv_lines_of_the_wrong_length(folder):
    (folder / "metadata.csv").write_text("file_name,caption\nimages/0.png,a,b\nimages/1.png\n")
    rows = open_rows(str(folder), Columns(conditions={}))
    with pytest.raises(RowError, match=r"^metadata.csv row 0: .*cells beyond the header"):
        rows[0]
    with pytest.raises(RowError, match=r"^metadata.csv row 1: .*empty"):
        rows[1]


def test_wrong_columns_and_folders_fail_at_once(folder):
    with pytest.raises(ValueError, match="holds neither"):
        open_rows(f"folder:{folder}")
    write_jsonl(folder, records())
    with pytest.raises(RowError, match=r"^metadata.jsonl: there is no 'text'; the fields are .*'caption'"):
        open_rows(str(folder), Columns(caption="text"))
    (folder / "metadata.csv").write_text("file_name\n")
    with pytest.raises(ValueError, match="holds both"):
        open_rows(f"folder:{folder}")


def test_fingerprint_follows_the_metadata(folder):
    write_jsonl(folder, records())
    before = open_rows(str(folder)).fingerprint()
    assert open_rows(str(folder)).fingerprint() == before
    write_jsonl(folder, records()[::-1])
    assert open_rows(str(folder)).fingerprint() != before
