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
        ({"txt": None, "json": "{"}, "the json file is not valid JSON"),
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


def header(name, size, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def attributes(*lines):
    """A pax header."""
    records = b"".join(f"{len(line) + 4} {line}\n".encode() for line in lines)
    return header("pax", len(records), tarfile.XHDTYPE) + records.ljust(512, b"\0")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (header("1.jpg", 2**40), "cannot have 1,099,511,627,776 bytes"),
        (attributes("size=-1024") + header("1.jpg", 5) + bytes(512), "cannot have -1,024 bytes"),
        (header("././@LongLink", 2**40, tarfile.GNUTYPE_LONGNAME), "a header of 1,099,511,627,776 bytes"),
        (header("pax", 2**33, tarfile.XHDTYPE), "a header of 8,589,934,592 bytes"),
        ((header("././@LongLink", 5, tarfile.GNUTYPE_LONGNAME) + b"abcd".ljust(512, b"\0")) * 2000, "recursion"),
        (header("1.jpg", 0, tarfile.LNKTYPE), "'1.jpg' is a link, a pipe or a device: pack the files themselves"),
        (header("1.jpg", 0, tarfile.SYMTYPE), "'1.jpg' is a link"),
        (header("1.jpg", 0, tarfile.GNUTYPE_SPARSE), "'1.jpg' is stored sparsely"),
        (
            attributes("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=1.jpg", "GNU.sparse.realsize=9")
            + header("1.jpg", 512)
            + b"9999999\n1\n".ljust(512, b"\n"),
            "tar file",
        ),
    ],
)
def test_headers_that_lie_or_have_no_contents_of_their_own_are_refused_at_once(tmp_path, members, message):
    write_tar(tmp_path / "a.tar", sample("0"))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 512 * 6] + members + bytes(1024))
    with pytest.raises(RowError, match=rf"^a.tar: .*{message}"):
        open_rows(str(tmp_path))


def test_files_of_a_row_are_bounded(tmp_path):
    with (tmp_path / "a.tar").open("wb") as file:
        for name, size in (("0.txt", 1), ("0.condition.png", 1), ("0.jpg", 2**28)):
            file.write(header(name, size) + b"x".ljust(512, b"\0"))
        file.truncate(2**29)
    with pytest.raises(RowError, match=r"^a.tar row 0: a file of the row has 268,435,456 bytes"):
        open_rows(str(tmp_path))[0]


def test_captions_of_other_encodings(tmp_path):
    write_tar(tmp_path / "a.tar", [*sample("0"), *sample("1")])
    text = [b"\xef\xbb\xbfbyte order mark", "naïve".encode("latin-1"), b"two\0"]
    members = [(f"{key}.{name}", b"x") for key in range(3) for name in ("jpg", "condition.png")]
    write_tar(tmp_path / "a.tar", members + [(f"{key}.txt", data) for key, data in enumerate(text)])
    rows = open_rows(str(tmp_path))
    assert rows[0].caption == "byte order mark"
    for key, message in {1: "is not UTF-8 text", 2: "holds a NUL"}.items():
        with pytest.raises(RowError, match=rf"^a.tar row {key}: the caption in 'caption' {message}"):
            rows[key]


def test_rows_without_a_caption_are_kept_where_empty_ones_are(tmp_path):
    members = [*sample("0"), *sample("1", txt=None), *sample("2", txt=None, json='{"n": 2}')]
    write_tar(tmp_path / "a.tar", [*members, *sample("3", txt=None, json="{")])
    kept = open_rows(str(tmp_path), Columns(keep_empty=True))
    assert [kept[row].caption for row in range(3)] == ["caption 0", "", ""]
    with pytest.raises(RowError, match=r"^a\.tar row 3: the json file is not valid JSON"):
        kept[3]
    for row, message in ((1, "there is no 'caption'"), (2, "the json file has no field 'caption'")):
        with pytest.raises(RowError, match=rf"^a\.tar row {row}: {message}"):
            open_rows(str(tmp_path))[row]


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ("cc3m-train-0000.tar", "cc3m-validation-0000.tar", "train, validation"),
        ("train2017.tar", "val2017.tar", "train, validation"),
        ("Training/0.tar", "testing/0.tar", "test, train"),
        ("crash-test-train-0.tar", "crash-test-dev-0.tar", "dev, train"),
        ("0.tar", "pose_test.tar", None),
        ("val/0.tar", "validation/1.tar", None),
        ("latest-0.tar", "contest-1.tar", None),
    ],
)
def test_splits_are_known_by_their_names_wherever_these_stand(tmp_path, one, other, named):
    for key, name in enumerate((one, other)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_tar(tmp_path / name, sample(str(key)))
    # What both are in is no split.
    write_tar(tmp_path / "2.tar", sample("2"))
    if named is None:
        assert len(open_rows(str(tmp_path))) == 3
        return
    with pytest.raises(ValueError, match=rf"several splits \({named}\): name the files of one by a pattern") as told:
        open_rows(str(tmp_path))
    assert len(open_rows("webdataset:" + str(told.value).split("'")[-2])) == 1


def test_shards_in_folders_that_are_links_are_read_once(tmp_path):
    (tmp_path / "set" / "part0").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    write_tar(tmp_path / "set" / "part0" / "0.tar", sample("0"))
    write_tar(tmp_path / "disk" / "1.tar", sample("1"))
    for link, to in (("part1", tmp_path / "disk"), ("again", tmp_path / "disk"), ("loop", tmp_path / "set")):
        (tmp_path / "set" / link).symlink_to(to)
    rows = open_rows(str(tmp_path / "set"))
    assert [rows[row].where for row in range(len(rows))] == ["again/1.tar row 1", "part0/0.tar row 0"]
    # Of a disk itself, which its users may not list.
    (tmp_path / "set" / "lost+found").mkdir()
    write_tar(tmp_path / "set" / "lost+found" / "2.tar", sample("2"))
    assert len(open_rows(str(tmp_path / "set"))) == 2
    (tmp_path / "set" / "part0" / "0.tar").unlink()
    assert len(open_rows(str(tmp_path / "set"))) == 1


def test_shards_and_folders_of_any_name(tmp_path):
    folder = tmp_path / "a[1] *?{b,c}\nd"
    folder.mkdir()
    write_tar(folder / "s[0],*.tar", sample("k[1],*\n"))
    for source in (folder, folder / "s[0],*.tar"):
        assert open_rows(f"webdataset:{source}")[0].caption == "caption k[1],*"
