"""Preparing a data set, in this process, with encoders that tell what they were given."""

import io
import itertools
import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.data.rows import Row, RowError
from lisa_jax.media.open_picture import PictureError
from lisa_jax.preparing import chunk, images
from lisa_jax.preparing.chunk import COMPRESSED, UNCOMPRESSED, writer_options
from lisa_jax.preparing.encoding import Encoding, load_encoding
from lisa_jax.preparing.images import ImageMaker, split_of
from lisa_jax.preparing.prepare import prepare
from lisa_jax.preparing.report import CUT, TURNED
from lisa_jax.preparing.small_splits import warn_of_empty_splits


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def moments_of(toy, picture, function=None):
    """Moments as they are stored, bfloat16 (h, w, 6)."""
    moments = (function or toy.box_means)(toy.LATENTS.params, jnp.asarray(picture[None]))
    return np.asarray(moments.astype(jnp.bfloat16))[0]


@pytest.fixture(scope="module")
def folder(toy, tmp_path_factory):
    """27 rows in three chunks."""
    folder = tmp_path_factory.mktemp("prepared") / "set"
    prepare(toy.Table(27), toy.task(), folder, workers=2)
    return folder


def test_every_row_is_there_once_with_what_was_made_of_it(toy, folder):
    sources = [load_prepared(folder, split) for split in ("train", "test")]
    examples = list(itertools.chain(*sources))
    table = toy.Table(27)
    rows = {toy.negative({"image": toy.picture(row.image)}).tobytes(): row for row in map(table.__getitem__, range(27))}
    assert len(examples) == 27
    assert {example["inputs"]["condition"]["negative"].tobytes() for example in examples} == rows.keys()
    for example in examples:
        inputs = example["inputs"]
        row = rows[inputs["condition"]["negative"].tobytes()]
        assert example["caption"] == row.caption
        assert inputs.keys() == {"moments", "context", "condition"}
        np.testing.assert_array_equal(inputs["condition"]["pose"], toy.picture(row.conditions["pose"]))
        assert inputs["moments"].dtype == inputs["context"].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(inputs["moments"], moments_of(toy, toy.picture(row.image)))
        context = toy.CONDITIONER.contexts([{"caption": row.caption}])[0]
        np.testing.assert_array_equal(inputs["context"], context.astype(ml_dtypes.bfloat16))
    assert all(len(source) > 2 for source in sources)
    np.testing.assert_array_equal(sources[0].empty_context, toy.CONDITIONER.empty)


def test_tfds_opens_it_and_reads_the_same(toy, folder):
    ours = load_prepared(folder, "train")
    theirs = tfds.builder_from_directory(folder).as_data_source("train")
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert other["caption"].decode() == mine["caption"]
        inputs = mine["inputs"]
        np.testing.assert_array_equal(other["condition.pose"], inputs["condition"]["pose"])
        np.testing.assert_array_equal(other["moments"].view(ml_dtypes.bfloat16), inputs["moments"])
        np.testing.assert_array_equal(other["context"].view(ml_dtypes.bfloat16), inputs["context"])


class Described:
    """Rows of a table of which those of odd numbers have two captions more."""

    def __init__(self, table):
        self.table = table

    def __len__(self):
        return len(self.table)

    def __getitem__(self, index):
        row = self.table[index]
        return row._replace(more_captions=(f"{row.caption} again", "")) if index % 2 else row


@pytest.mark.parametrize("cached", [True, False])
def test_all_captions_of_a_row_are_kept_with_their_contexts(toy, folder, tmp_path, cached):
    task = toy.task() if cached else toy.task(encoding=Encoding())
    if not cached:
        prepare(toy.Table(27), task, folder := tmp_path / "plain", workers=1)
    prepare(Described(toy.Table(27)), task, tmp_path / "set", workers=2)
    plain, several = load_prepared(folder), load_prepared(tmp_path / "set")
    assert (folder / "features.json").read_bytes() == (tmp_path / "set" / "features.json").read_bytes()
    numbers = []
    for before, example in zip(plain, several, strict=True):
        assert example["caption"] == before["caption"]
        jax.tree.map(np.testing.assert_array_equal, example["inputs"], before["inputs"])
        captions = [other["caption"] for other in example["others"]]
        assert captions in ([], [f"{example['caption']} again", ""])
        numbers.append(len(captions))
        for other in example["others"]:
            expected = dict(before["inputs"])
            if cached:
                context = toy.CONDITIONER.contexts([other])[0]
                expected["context"] = context.astype(ml_dtypes.bfloat16)
            jax.tree.map(np.testing.assert_array_equal, other["inputs"], expected)
    assert 5 < numbers.count(2) < len(numbers) - 5
    theirs = tfds.builder_from_directory(tmp_path / "set").as_data_source("train")
    assert [other["caption"].decode() for other in theirs] == [example["caption"] for example in several]


def test_size_index_tells_the_bucket_of_each_example(toy, folder):
    source = load_prepared(folder, "train")
    assert source.sizes == toy.SIZES and set(source.size_index) == {0, 1}
    for example, size_index in zip(source, source.size_index, strict=True):
        assert example["inputs"]["condition"]["pose"].shape[:2] == toy.SIZES[size_index]


@pytest.mark.parametrize("chunk_killed", [0, 1, 2])
def test_continued_after_a_kill_it_is_the_same_to_the_bit(toy, folder, tmp_path, chunk_killed):
    class Killed(BaseException):
        pass

    def dies(example):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return toy.negative(example)

    left = 10 * chunk_killed + 5
    with pytest.raises(Killed):
        prepare(toy.Table(27), toy.task(computed={"negative": dies}), tmp_path / "set", workers=1)
    assert not (tmp_path / "set").exists()
    counted = []

    def counts(example):
        counted.append(1)
        return toy.negative(example)

    prepare(toy.Table(27), toy.task(computed={"negative": counts}), tmp_path / "set", workers=3)
    assert len(counted) == 27 - 10 * chunk_killed
    assert files(tmp_path / "set") == files(folder)
    assert not (tmp_path / "set.partial").exists()


def test_killed_while_it_is_being_finished(toy, folder, tmp_path, monkeypatch):
    """Once before the shards are described, once before the folder appears."""
    out = tmp_path / "set"
    for name in ("write_report", "shutil.rmtree"):
        with monkeypatch.context() as patch:
            patch.setattr(f"lisa_jax.preparing.writer.{name}", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                prepare(toy.Table(27), toy.task(), out, workers=1)
        assert not out.exists()
    prepare(toy.Table(27), toy.task(), out, workers=1)
    assert files(out) == files(folder)


def describe_fewer_rows(path):
    content = json.loads(path.read_text())
    content["shards"]["train"]["runs"][0][1] -= 1
    path.write_text(json.dumps(content))


DAMAGES = {
    "an empty description": lambda chunk: (chunk / "chunk.json").write_bytes(b""),
    "a description of fewer rows": lambda chunk: describe_fewer_rows(chunk / "chunk.json"),
    "a shard that was never written": lambda chunk: (chunk / "train.array_record").unlink(),
    "a shard of zeros": lambda chunk: (chunk / "train.array_record").write_bytes(bytes(2**17)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_chunk_that_a_crash_has_damaged_is_made_again(toy, folder, tmp_path, caplog, damage):
    with pytest.raises(PictureError):
        prepare(toy.Table(27, {25: "image"}), toy.task(), tmp_path / "set", workers=1)
    damage(tmp_path / "set.partial" / "chunk-000001")
    prepare(toy.Table(27), toy.task(), tmp_path / "set", workers=1)
    assert "chunk-000001 is damaged: its rows are prepared again." in caplog.text
    assert files(tmp_path / "set") == files(folder)


def test_chunks_of_the_version_before_are_continued(toy, folder, tmp_path):
    with pytest.raises(PictureError):
        prepare(toy.Table(27, {25: "image"}), toy.task(), tmp_path / "set", workers=1)
    for path in (tmp_path / "set.partial").glob("chunk-*/chunk.json"):
        content = json.loads(path.read_text())
        for shard in content["shards"].values():
            del shard["sha256"], shard["ends"]
        del content["digest"]
        path.write_text(json.dumps(content))
    prepare(toy.Table(27), toy.task(), tmp_path / "set", workers=1)
    assert files(tmp_path / "set") == files(folder)


def test_settings_that_a_crash_has_damaged_are_named(toy, tmp_path):
    with pytest.raises(PictureError):
        prepare(toy.Table(27, {15: "image"}), toy.task(), tmp_path / "set", workers=1)
    (tmp_path / "set.partial" / "settings.json").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"settings\.json is not valid JSON .*: delete .*set\.partial to begin anew\.$"
    ):
        prepare(toy.Table(27), toy.task(), tmp_path / "set", workers=1)


def test_settings_with_which_nothing_was_finished_bind_nobody(toy, tmp_path):
    with pytest.raises(PictureError):
        prepare(toy.Table(27, {5: "image"}), toy.task(test_fraction=0.5), tmp_path / "set", workers=1)
    prepare(toy.Table(27), toy.task(), tmp_path / "set", workers=1)


def test_every_file_has_the_permissions_of_the_others(folder):
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_finished_data_set_is_left_alone(toy, folder):
    before = files(folder)
    prepare(toy.Table(27), toy.task(computed={"negative": lambda example: 1 / 0}), folder, workers=1)
    assert files(folder) == before


def test_other_settings_are_refused(toy, folder, tmp_path):
    with pytest.raises(ValueError, match=r'made with test_fraction = "0\.3", but now it is "0\.5": give'):
        prepare(toy.Table(27), toy.task(test_fraction=0.5), folder, workers=1)
    with pytest.raises(PictureError):
        prepare(toy.Table(27, {15: "image"}), toy.task(), tmp_path / "set", workers=1)
    with pytest.raises(ValueError, match=r"set\.partial was made with chunk_rows"):
        prepare(toy.Table(27), toy.task(chunk_rows=5), tmp_path / "set", workers=1)


def test_chunks_of_another_format_are_not_continued(toy, tmp_path):
    with pytest.raises(PictureError):
        prepare(toy.Table(27, {15: "image"}), toy.task(), tmp_path / "set", workers=1)
    begun = tmp_path / "set.partial" / "settings.json"
    content = json.loads(begun.read_text())
    # The first format did not say which it was.
    del content["format"]
    begun.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"set\.partial was made with format = null, but now it is 4: give"):
        prepare(toy.Table(27), toy.task(), tmp_path / "set", workers=1)


def test_something_else_is_not_overwritten(toy, tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(FileExistsError, match="exists already and is no prepared data set"):
        prepare(toy.Table(27), toy.task(), tmp_path, workers=1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({12: "image"}, r"table\.parquet row 12: the picture of \d+ bytes is damaged"),
        ({12: "caption"}, r"table\.parquet row 12: the caption in 'caption' is empty"),
    ],
)
def test_a_bad_row_is_named(toy, tmp_path, bad, message):
    with pytest.raises((RowError, PictureError), match=message):
        prepare(toy.Table(27, bad), toy.task(), tmp_path / "set", workers=2)


def test_skipped_rows_are_listed(toy, tmp_path, caplog):
    bad = {3: "image", 12: "caption", 26: "image"}
    caplog.set_level("INFO", "lisa_jax")
    prepare(toy.Table(27, bad), toy.task(skip_bad_rows=True), tmp_path / "set", workers=2)
    report = [json.loads(line) for line in (tmp_path / "set" / "report.jsonl").read_text().splitlines()]
    assert [line["row"] for line in report] == [3, 12, 26]
    assert report[1] == {"row": 12, "where": "table.parquet row 12", "reason": "the caption in 'caption' is empty."}
    assert "damaged" in report[0]["reason"]
    assert sum(len(load_prepared(tmp_path / "set", split)) for split in ("train", "test")) == 24
    assert "3 rows were skipped" in caplog.text and "report.jsonl" in caplog.text


def test_skipping_may_be_decided_after_a_failure(toy, tmp_path):
    table = toy.Table(27, {15: "image"})
    with pytest.raises(PictureError):
        prepare(table, toy.task(), tmp_path / "set", workers=1)
    prepare(table, toy.task(skip_bad_rows=True), tmp_path / "set", workers=1)
    assert sum(len(load_prepared(tmp_path / "set", split)) for split in ("train", "test")) == 26


def test_a_condition_that_refuses_an_image_makes_a_bad_row_and_a_mistake_ends_the_work(toy, tmp_path):
    def nobody(example):
        raise ValueError("nobody is in the picture")

    with pytest.raises(RowError, match=r"table\.parquet row 0: condition 'negative' cannot be computed \(nobody"):
        prepare(toy.Table(5), toy.task(computed={"negative": nobody}), tmp_path / "a", workers=1)
    with pytest.raises(ValueError, match=r"None of the 5 rows could be used; the first one: table\.parquet row 0"):
        prepare(toy.Table(5), toy.task(computed={"negative": nobody}, skip_bad_rows=True), tmp_path / "b", workers=1)
    with pytest.raises(KeyError):
        mistaken = toy.task(computed={"negative": lambda example: example["depth"]}, skip_bad_rows=True)
        prepare(toy.Table(5), mistaken, tmp_path / "c", workers=1)
    with pytest.raises(ValueError, match=r"gives float64 \(16, 16, 3\), but must give uint8"):
        halves = toy.task(computed={"negative": lambda example: example["image"] / 2})
        prepare(toy.Table(5), halves, tmp_path / "d", workers=1)


@pytest.mark.parametrize("spoilt", ["moments", "context", "overflow"])
def test_what_a_base_encodes_to_no_numbers_ends_the_work_by_row(toy, tmp_path, spoilt):
    """Of float32 that overflows in bfloat16, too."""

    def moments(params, images):
        found = toy.box_means(params, images)
        return found * {"moments": jnp.nan, "overflow": 3.4e38 / found}.get(spoilt, 1)

    def context(params, letters):
        found = toy.text_lengths(params, letters)
        return jnp.where(found == ord("4"), jnp.nan if spoilt == "context" else 0, found)

    encoding = Encoding(
        replace(toy.LATENTS, moments=moments), conditioner=replace(toy.CONDITIONER, encode=context), batch_size=4
    )
    row = 4 if spoilt == "context" else 0
    name = "context" if spoilt == "context" else "moments"
    with pytest.raises(
        ValueError, match=rf"table\.parquet row {row}: its {name} are not finite, for the base's encoder"
    ):
        prepare(toy.Table(9), toy.task(encoding=encoding), tmp_path / "set", workers=1)


def test_label_maps_are_fitted_for_the_condition_that_reads_them(toy, tmp_path):
    labels = np.arange(16 * 16, dtype=np.int32).reshape(16, 16) % 7

    class Labelled(toy.Table):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(extras={"labels": labels})

    def painted(example):
        return np.repeat(example["labels"][..., None], 3, axis=-1).astype(np.uint8)

    task = toy.task(computed={"painted": painted}, given=(), sizes=((8, 8),), test_fraction=0.0)
    prepare(Labelled(2), task, tmp_path / "set", workers=1)
    for example in load_prepared(tmp_path / "set"):
        painted = example["inputs"]["condition"]["painted"]
        assert set(np.unique(painted)) <= set(range(7)) and painted.shape == (8, 8, 3)


def test_colours_that_are_classes_are_not_mixed(toy):
    row = toy.Table(1)[0]
    colours = {tuple(colour) for colour in toy.picture(row.conditions["pose"]).reshape(-1, 3)}
    for nearest, kept in (((), False), (("pose",), True)):
        made = ImageMaker(((8, 8),), ("pose",), {}, 0.0, nearest)(row).conditions["pose"]
        assert ({tuple(colour) for colour in made.reshape(-1, 3)} <= colours) is kept


def test_without_a_cache_images_are_kept(toy, tmp_path):
    prepare(toy.Table(9), toy.task(encoding=Encoding(), given=("pose",), computed={}), tmp_path / "set", workers=1)
    source = load_prepared(tmp_path / "set", "train")
    stored = {toy.picture(toy.Table(9)[index].image).tobytes() for index in range(9)}
    for example in source:
        assert example["inputs"].keys() == {"image", "condition"}
        assert example["inputs"]["image"].tobytes() in stored
        assert example["inputs"]["condition"]["pose"].dtype == np.uint8
    assert source.cached == () and source.base is None and source.empty_context is None
    source.check_base("any")


def test_a_conditioner_reads_of_a_picture_without_a_cache_what_prepare_read_of_it(toy, tmp_path):
    conditioner, read = toy.CONDITIONER_OF_THREE, []
    for name, of_context in (("cached", conditioner), ("uncached", None)):
        encoding = Encoding(toy.LATENTS, conditioner=of_context, fingerprint="abc", batch_size=4)
        # Of squares and wide ones; the squares are cropped.
        task = toy.task(encoding=encoding, sizes=((8, 16), (8, 24)))
        prepare(toy.Table(27), task, tmp_path / name, workers=2)
        read.append(load_prepared(tmp_path / name, "train"))
    cached, uncached = read
    expected = [example["inputs"]["context"]["time_ids"] for example in cached]
    np.testing.assert_array_equal(conditioner.read(list(uncached))["sizes"], expected)
    assert {tuple(map(int, ids)) for ids in expected} == {(16, 16, 4, 0, 8, 16), (8, 24, 0, 0, 8, 24)}
    assert all(example["inputs"].keys() == {"moments", "condition"} for example in uncached)


def test_without_a_base_nothing_can_be_cached():
    with pytest.raises(
        ValueError, match=r"^To cache context and moments, give the --base that trains later; or --cache="
    ):
        load_encoding(None, ("context", "moments"), 8)
    with pytest.raises(ValueError, match=r"^--cache=pixels: there are moments, context and none\.$"):
        load_encoding(None, ("pixels",), 8)


def test_rows_that_share_an_image_share_a_split(toy):
    row = toy.Table(1)[0]
    splits = {split_of(replace_caption(row, caption), 0.5) for caption in ("a", "b", "c")}
    assert len(splits) == 1
    fractions = [split_of(toy.Table(400)[index], 0.25) for index in range(400)].count("test") / 400
    assert 0.18 < fractions < 0.32


def replace_caption(row, caption):
    return row._replace(caption=caption, where=caption)


def test_work_ahead_is_bounded(toy, tmp_path):
    class Watched(toy.Table):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            return super().__getitem__(index)

    table, most = Watched(200), 0
    done = 0

    def slow(examples):
        nonlocal done, most
        if examples != [{"caption": ""}]:
            done += 64
            most = max(most, table.reads - done)
        return toy.letters(examples)

    encoding = replace(toy.task().encoding, conditioner=replace(toy.CONDITIONER, read=slow))
    prepare(table, toy.task(encoding=encoding, chunk_rows=64), tmp_path / "set", workers=2)
    assert most <= 2 * 4


def test_what_zstd_hardly_shrinks_is_stored_as_it_is():
    drawing = bytes(900) + bytes(range(100))
    noise = np.random.default_rng(0).bytes(1000)
    assert writer_options(drawing) == COMPRESSED
    assert writer_options(noise) == UNCOMPRESSED


# The first is how data sets were written before.
@pytest.mark.parametrize("options", ["group_size:1,zstd:1", COMPRESSED, UNCOMPRESSED])
def test_compressed_or_not_the_same_is_read(toy, folder, tmp_path, monkeypatch, options):
    monkeypatch.setattr(chunk, "writer_options", lambda record: options)
    prepare(toy.Table(27), toy.task(), tmp_path / "set", workers=1)
    for ours, expected in zip(load_prepared(tmp_path / "set"), load_prepared(folder), strict=True):
        assert ours["caption"] == expected["caption"]
        jax.tree.map(np.testing.assert_array_equal, ours["inputs"], expected["inputs"])


def report_of(folder):
    return [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]


def turned(picture, orientation):
    """A picture whose EXIF says how its pixels are stored."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def made_of(image, condition, size=(8, 8)):
    return ImageMaker((size,), ("pose",), {}, 0.0)(Row("table row 0", image, {"pose": condition}, "a", {}))


def test_an_image_that_exif_turns_and_its_condition_not_is_noted_where_sizes_cannot_tell():
    square, wide = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 16, 3), np.uint8)
    high = wide.transpose(1, 0, 2)
    for orientation in range(2, 9):
        assert made_of(turned(square, orientation), turned(square, 1)).notes == (TURNED,)
        assert made_of(turned(square, 1), turned(square, orientation)).notes == (TURNED,)
        assert made_of(turned(square, orientation), turned(square, orientation)).notes == ()
        sideways = orientation > 4
        # Of the upright picture's shape: it can only have been made of that, unless both shapes are one.
        assert made_of(turned(wide, orientation), turned(high if sideways else wide, 1)).notes == (
            () if sideways else (TURNED,)
        )
    with pytest.raises(RowError, match=r"condition 'pose' is 16x8, but the image is 8x16, .* ratio; EXIF turns one of"):
        made_of(turned(wide, 6), turned(wide, 1))
    with pytest.raises(RowError, match=r"which is another aspect ratio: they are cropped together, [^;]*$"):
        made_of(turned(wide, 6), turned(square, 1))


def test_where_conditions_are_stretched_one_that_exif_turns_apart_is_noted_too():
    wide, rounded = np.zeros((8, 12, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)
    make = ImageMaker(((8, 8),), ("pose",), {}, 0.0, stretched=["pose"])

    def notes(image, condition):
        return make(Row("table row 0", image, {"pose": condition}, "a", {})).notes

    assert notes(turned(wide, 1), turned(rounded, 1)) == notes(turned(wide, 6), turned(rounded, 6)) == ()
    assert notes(turned(wide, 6), turned(rounded, 1)) == (TURNED,)
    assert notes(turned(wide, 6), turned(rounded.transpose(1, 0, 2), 1)) == ()


def test_what_was_decided_about_rows_is_reported_with_them_also_after_a_kill(toy, tmp_path, caplog):
    class Turned(toy.Table):
        def __getitem__(self, index):
            row = super().__getitem__(index)
            image = turned(toy.picture(row.image), 3) if index in (1, 15) else row.image
            return row._replace(image=image)

    conditioner = replace(toy.CONDITIONER, cuts=lambda examples: [e["caption"] == "number 4" for e in examples])
    encoding = replace(toy.task().encoding, conditioner=conditioner, cuts=conditioner.cuts)
    with pytest.raises(PictureError):
        prepare(Turned(27, {22: "image"}), toy.task(encoding=encoding), tmp_path / "set", workers=1)
    caplog.set_level("INFO", "lisa_jax")
    prepare(Turned(27, {22: "image"}), toy.task(encoding=encoding, skip_bad_rows=True), tmp_path / "set", workers=2)
    skipped, *notes = report_of(tmp_path / "set")
    assert skipped["row"] == 22
    found = {note["note"]: (note["count"], sorted(note["where"])) for note in notes}
    assert found == {
        TURNED: (2, ["table.parquet row 1", "table.parquet row 15"]),
        CUT: (5, sorted(f"table.parquet row {index}" for index in (4, 9, 14, 19, 24))),
    }
    assert "2 rows: EXIF turns the image" in caplog.text and "5 rows: the caption is longer" in caplog.text


@pytest.mark.parametrize(
    ("length", "fraction", "said"),
    [
        (3, 0.001, r"None of the rows \(3\) falls into the test split by --test_fraction=0.001, .*: give one"),
        (3, 0.999, r"None of the rows \(3\) falls into the train split by --test_fraction=0.999"),
        (1, 0.5, r"None of the rows \(1\) falls into .*: give more rows"),
        (3, 0.0, None),
        (27, 0.3, None),
    ],
)
def test_a_split_that_would_be_empty_is_told_before_the_work(toy, caplog, length, fraction, said):
    warn_of_empty_splits(toy.Table(length, {0: "caption"} if length > 1 else None), fraction)
    assert (re.search(said, caplog.text) is not None) if said else not caplog.text
    if length == 3 and said and "give one" in said:
        fractions = re.search(r"from (0\.\d+) to (0\.\d+)", caplog.text).groups()
        for fraction in map(float, fractions):
            assert {split_of(toy.Table(3)[index], fraction) for index in (1, 2)} == {"train", "test"}


def test_large_pictures_are_not_read_far_ahead(toy, tmp_path, monkeypatch):
    held = []

    class Watched(toy.Table):
        def __getitem__(self, index):
            held.append(index - done)
            return super().__getitem__(index)

    done = 0

    def counting(example):
        nonlocal done
        done += 1
        return toy.negative(example)

    monkeypatch.setattr("lisa_jax.preparing.prepare.READ_AHEAD_BYTES", 1)
    task = toy.task(computed={"negative": counting}, test_fraction=0.0)
    prepare(Watched(60), task, tmp_path / "set", workers=2)
    assert max(held) <= 1


def test_of_large_pictures_one_is_in_memory_at_a_time(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_LARGE", 16 * 16 - 1)
    at_once = []

    def watched(example):
        at_once.append(images._ONE_LARGE.locked())
        return toy.negative(example)

    prepare(toy.Table(9), toy.task(computed={"negative": watched}), tmp_path / "set", workers=4)
    # Every third one is smaller.
    assert at_once.count(True) >= 6
