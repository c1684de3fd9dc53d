import csv
import json
import os
import pickle
import shutil

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
        (1, "the line is not valid JSON"),
        (2, r"'images/9.png' of 'image' cannot be read \(No such file"),
        (3, "there is no 'condition'; the fields are .*'file_name'"),
        (4, "caption in 'caption' is empty"),
        (6, "the line holds a JSON number"),
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
    with pytest.raises(ValueError, match=r"holds none \(there: images, poses\)"):
        open_rows(f"folder:{folder}")
    write_jsonl(folder, records())
    with pytest.raises(RowError, match=r"^metadata.jsonl: there is no 'text'; the fields are .*--caption_column"):
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


def row_of(folder, name, **options):
    write_jsonl(folder, [{"file_name": name, "condition": name, "caption": "a"}])
    return open_rows(str(folder), **options)[0]


def test_files_of_any_name_are_read(folder):
    odd = folder / "a[1] *?{b,c} ünï\nd"
    odd.mkdir()
    (odd / "im[0],*.png").write_bytes(b"odd")
    assert row_of(odd, "im[0],*.png").image == b"odd"


def test_pictures_outside_of_the_folder_are_read_only_where_that_is_allowed(folder):
    source = folder / "source"
    source.mkdir()
    outside = folder / "images" / "0.png"
    (source / "link.png").symlink_to(outside)
    (source / "inside.png").write_bytes(b"inside")
    for name in ("../images/0.png", str(outside), "link.png"):
        with pytest.raises(RowError, match=r"^metadata.jsonl row 0: .* of 'image' lies outside of .*--allow_outside"):
            row_of(source, name)
        assert row_of(source, name, allow_outside=True).image == b"images 0"
    for name in (str(source / "inside.png"), "../source/inside.png"):
        assert row_of(source, name).image == b"inside"


def test_what_a_listing_names_and_cannot_be_read_is_told(folder):
    os.mkfifo(folder / "pipe.png")
    for name, message in [
        ("pipe.png", "is a named pipe, but must be a file"),
        ("images", "is a folder, but must be a file"),
        ("https://example.org/a.png", "is an address: download the pictures first"),
        ("images\\0.png", r"No such file or directory\); folders are separated by /"),
        ("a\0.png", "null (byte|character)"),
        ("\ud83d.png", "surrogates"),
        (3, "is of type int, but must be a file name"),
    ]:
        with pytest.raises(RowError, match=f"^metadata.jsonl row 0: .*{message}"):
            row_of(folder, name)


def test_listings_that_are_no_files_are_told(tmp_path):
    os.mkfifo(tmp_path / "metadata.csv")
    for source in (tmp_path, tmp_path / "metadata.csv"):
        with pytest.raises(RowError, match=r"metadata\.csv' is a named pipe, but must be a file"):
            open_rows(f"folder:{source}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "metadata.csv",
            "file_name,caption\na.png,café\n".encode("latin-1"),
            "line 2 is not UTF-8 text .*save the file",
        ),
        ("metadata.csv", "file_name,caption\n".encode("utf-16"), "line 1 is UTF-16: save the file as UTF-8"),
        ("metadata.csv", b"file_name,caption,caption\n", "several columns are named 'caption'"),
        ("metadata.csv", b'file_name,caption\na.png,"a\nb.png,b\n', "row that ends at line 3 .*unexpected end of data"),
        ("metadata.jsonl", b"x" * (2**24 + 1), "line 1 has more than 16,777,216 bytes"),
    ],
)
def test_listings_that_are_no_text_or_no_table_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RowError, match=f"^{name}: .*{message}"):
        open_rows(str(tmp_path), Columns(conditions={}))


def test_tables_separated_by_semicolons_or_tabs(folder):
    for sign in ";\t":
        table = f"file_name{sign}condition{sign}caption\nimages/0.png{sign}poses/0.png{sign}a, b\n"
        (folder / "metadata.csv").write_text(table)
        row = open_rows(str(folder))[0]
        assert (row.image, row.caption) == (b"images 0", "a, b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "holds a JSON list"),
        ('{"n": ' + "9" * 5000 + "}", "is not valid JSON"),
        ('{"file_name": "images/0.png", "caption": "a\\u0000b"}', "holds a NUL"),
        ('{"file_name": "images/0.png", "caption": "\\ud83d"}', "is not UTF-8 text"),
        (json.dumps({"file_name": "images/0.png", "caption": "x" * 2**17}), "is 131,072 long"),
        ('{"file_name": "images/0.png", "caption": {"en": "x"}}', "of type dict, but must be text"),
    ],
)
def test_lines_that_mean_no_row_are_bad_rows(folder, text, message):
    (folder / "metadata.jsonl").write_text(f'{{"file_name": "images/1.png", "caption": "fine"}}\n{text}\n')
    rows = open_rows(str(folder), Columns(conditions={}))
    assert rows[0].caption == "fine"
    with pytest.raises(RowError, match=f"^metadata.jsonl row 1: .*{message}"):
        rows[1]


def test_of_a_list_all_captions_are_kept_and_each_must_be_one(folder):
    def captions(given, **columns):
        write_jsonl(folder, [{"file_name": "images/0.png", "caption": given}])
        row = open_rows(str(folder), Columns(conditions={}, **columns))[0]
        return [row.caption, *row.more_captions]

    assert captions("one") == captions(["one"]) == ["one"]
    assert captions([" one", "two ", "one"]) == ["one", "two", "one"]
    assert captions(["one", "", None], keep_empty=True) == ["one", "", ""]
    assert captions([], keep_empty=True) == [""]
    write_jsonl(folder, [{"file_name": "images/0.png", "caption": "one"}, {"file_name": "images/1.png"}])
    assert open_rows(str(folder), Columns(conditions={}, keep_empty=True))[1].caption == ""
    with pytest.raises(RowError, match=r"^metadata\.jsonl row 1: there is no 'caption'"):
        open_rows(str(folder), Columns(conditions={}))[1]
    assert captions("one\n\n two\r\n", caption_lines=True) == ["one", "two"]
    assert captions("one\ntwo") == ["one\ntwo"]
    for given, message in (
        ([], "the caption in 'caption' is empty"),
        (["one", " "], "the caption in 'caption', number 2 of 2, is empty"),
        ([1, "one"], "number 1 of 2, is of type int"),
        (["one"] * 33, "there are 33 captions in 'caption', but must be at most 32: keep so many"),
    ):
        with pytest.raises(RowError, match=rf"^metadata\.jsonl row 0: .*{message}"):
            captions(given)


def test_a_listing_of_any_name_is_read_when_it_is_named(folder):
    write_jsonl(folder, [{"source": "poses/0.png", "target": "images/0.png", "prompt": "a"}])
    (folder / "metadata.jsonl").rename(folder / "prompt.json")
    rows = open_rows(str(folder / "prompt.json"), Columns("target", {"pose": "source"}, "prompt"))
    assert (rows[0].image, rows[0].conditions["pose"]) == (b"images 0", b"poses 0")


def test_other_layouts_are_told_with_the_way(folder):
    def refusal(source):
        with pytest.raises(ValueError, match=r"no source that is recognised|must hold one of") as refused:
            open_rows(str(source))
        return str(refused.value)

    (folder / "listing1000.jsonl").write_text("{}\n")
    assert f"name the file itself, --source={folder}/listing1000.jsonl" in refusal(folder)
    (folder / "listing1000.jsonl").rename(folder / "images" / "metadata.jsonl")
    assert f"--source={folder}/images" in refusal(folder)
    (folder / "images" / "metadata.jsonl").unlink()
    told = refusal(folder)
    assert "looked for metadata.jsonl, metadata.csv, prompt.json, state.json" in told and "there: images, poses" in told
    (folder / "data-00000-of-00001.arrow").touch()
    assert "without the state.json that save_to_disk" in refusal(folder)


def test_the_tutorials_layout_needs_no_flag(folder):
    write_jsonl(folder, [{"source": "poses/0.png", "target": "images/0.png", "prompt": "a"}])
    (folder / "metadata.jsonl").rename(folder / "prompt.json")
    row = open_rows(str(folder))[0]
    assert (row.image, row.conditions["condition"], row.caption) == (b"images 0", b"poses 0", "a")
    named = open_rows(str(folder), Columns("target", {"condition": "source"}, "prompt"))
    assert open_rows(str(folder)).fingerprint() == named.fingerprint()


def test_usual_columns_are_found_unless_there_are_several(folder):
    line = {"file_name": "images/0.png", "conditioning_image": "poses/0.png", "text": "a"}
    write_jsonl(folder, [line])
    row = open_rows(str(folder))[0]
    assert (row.image, row.conditions["condition"], row.caption) == (b"images 0", b"poses 0", "a")
    write_jsonl(folder, [line | {"caption": "ours"}])
    assert open_rows(str(folder))[0].caption == "ours"
    write_jsonl(folder, [line | {"prompt": "b"}])
    with pytest.raises(RowError, match=r"no column 'caption', .*: name one of text, prompt by --caption_column"):
        open_rows(str(folder))
    write_jsonl(folder, [line])
    with pytest.raises(RowError, match="there is no 'tags'"):
        open_rows(str(folder), Columns(caption="tags"))


def test_the_folder_train_is_taken_where_the_listing_lies_there(folder, caplog):
    caplog.set_level("INFO")
    (folder.parent / "all" / "test").mkdir(parents=True)
    write_jsonl(folder, [{"file_name": "images/0.png", "condition": "poses/0.png", "caption": "a"}])
    shutil.copytree(folder, folder.parent / "all" / "train")
    assert open_rows(str(folder.parent / "all"))[0].image == b"images 0"
    assert "the rows are those of its folder train" in caplog.text
