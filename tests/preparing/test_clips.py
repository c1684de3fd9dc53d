"""From rows of videos to clips with their conditions: which frames are taken, cut alike, and what cannot be used."""

import io
import json
import os
import tarfile
import weakref
from fractions import Fraction

import av
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from lisa_jax.data import clip_frames
from lisa_jax.data.geometry import fit
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.data.rows import Columns, Row, RowError, open_rows
from lisa_jax.data.rows.named_file import named_clip
from lisa_jax.media import video_file
from lisa_jax.media.open_picture import PictureError
from lisa_jax.media.video import VIDEO
from lisa_jax.preparing import images
from lisa_jax.preparing.clip_rows import ClipRows
from lisa_jax.preparing.clips import ClipMaker
from lisa_jax.preparing.encoding import Encoding
from lisa_jax.preparing.images import rank_of
from lisa_jax.preparing.prepare import Task, prepare
from lisa_jax.preparing.report import LONGER


def video(frames, height=24, width=32):
    """Frames of a gradient to the right, each 8 brighter than the one before."""
    x = np.broadcast_to(np.linspace(0, 100, width)[None, :, None], (height, width, 3))
    return np.stack([x + 8 * number for number in range(frames)]).astype(np.uint8)


def numbers(clip):
    """The frame of `video` that each one is, by its middle."""
    return np.round((clip[:, clip.shape[1] // 2, clip.shape[2] // 2, 0].astype(float) - 49) / 8).astype(int).tolist()


def write_webm(path, frames, rate):
    """One that does not say how many frames it has."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=rate, options={"crf": "4", "b": "8M", "auto-alt-ref": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for array in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())


def maker(**fields):
    usual = {"sizes": ((16, 16), (16, 24)), "given": (), "computed": {}, "test_fraction": 0.0, "frames": 3}
    return ClipMaker(**usual | fields)


def row(image, **conditions):
    """As sources give it: folders as their frames."""
    clips = {name: named_clip(path.parent, path.name, False, name, "") for name, path in conditions.items()}
    return Row(
        "table.jsonl row 3", named_clip(image.parent, image.name, False, "", ""), clips, "a ramp", {}, ("again",)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """12 frames at 12 a second as MP4 and as a folder, and 9 at 12 a second as WebM."""
    folder = tmp_path_factory.mktemp("videos")
    VIDEO.write(folder / "a.mp4", video(12), fps=12)
    VIDEO.write(folder / "a", video(12))
    write_webm(folder / "b.webm", video(9), 12)
    return folder


TAKEN = {
    "all, at the video's own rate": ("a.mp4", {}, [0, 1, 2], 12),
    "by times": ("a.mp4", {"fps": 4}, [0, 3, 6], 4),
    "by times that frames do not have": ("a.mp4", {"fps": 5}, [0, 2, 5], 5),
    "every other": ("a.mp4", {"stride": 2}, [0, 2, 4], 6),
    "every other, said to be so many a second": ("a.mp4", {"stride": 2, "fps": 7}, [0, 2, 4], 7),
    "of a folder all, which are so many a second": ("a", {"fps": 7}, [0, 1, 2], 7),
    "of a folder every third": ("a", {"fps": 7, "stride": 3}, [0, 3, 6], 7),
    "of a video that does not say its length": ("b.webm", {"fps": 3}, [0, 4, 8], 3),
}


@pytest.mark.parametrize("case", TAKEN)
def test_frames_are_taken_from_the_first_on(made, case):
    name, how, expected, fps = TAKEN[case]
    clip = maker(**how)(row(made / name))
    assert numbers(clip.image) == expected and clip.fps == fps
    assert clip.image.shape == (3, 16, 24, 3) and clip.size_index == 1
    assert clip.notes == ((LONGER,) if name != "b.webm" else ())
    first, second = clip.examples()
    assert (first["caption"], second["caption"]) == ("a ramp", "again")
    assert first["fps"] == fps and first["size"] == (16, 24) and first["original_size"] == (24, 32)
    np.testing.assert_array_equal(first["first_frame"], clip.image[0])


def test_every_frame_and_every_condition_is_cut_by_the_same_window(made, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    VIDEO.write(tmp_path / "a", frames)
    VIDEO.write(tmp_path / "twice", frames.repeat(2, axis=1).repeat(2, axis=2))
    both = maker(
        given=("pose",), computed={"negative": lambda example: 255 - example["image"]}, sizes=((16, 16),), fps=7
    )
    clip = both(row(tmp_path / "a", pose=tmp_path / "twice"))
    for frame, image, pose, negative in zip(
        frames, clip.image, clip.conditions["pose"], clip.conditions["negative"], strict=True
    ):
        cut = fit(frame, {"pose": frame.repeat(2, axis=0).repeat(2, axis=1)}, (16, 16), where="")
        np.testing.assert_array_equal(image, cut.image)
        np.testing.assert_array_equal(pose, cut.conditions["pose"])
        np.testing.assert_array_equal(negative, 255 - image)
    assert clip.crop == cut.crop == (0, 3)


def test_the_same_frames_are_taken_of_a_condition_of_another_rate(made):
    clip = maker(given=("pose",), fps=4)(row(made / "a.mp4", pose=made / "a"))
    assert numbers(clip.conditions["pose"]) == numbers(clip.image) == [0, 3, 6]


def test_conditions_have_the_channels_that_are_asked_for(made):
    clip = maker(given=("pose",), channels={"pose": 1})(row(made / "a.mp4", pose=made / "a"))
    assert clip.conditions["pose"].shape == (3, 16, 24, 1)


REFUSED = {
    "too short": ("b.webm", {}, {"frames": 10}, r"row 3: b\.webm: the video has 9 frames, but a clip of 10 takes"),
    "too slow": ("a.mp4", {}, {"fps": 24}, r"row 3: a\.mp4: the video has 12 frames a second, fewer than --fps=24\.$"),
    "no rate": ("a", {}, {}, r"row 3: a: a folder of frames does not say how many are a second: give --fps\.$"),
    "too long a condition": (
        "b.webm",
        {"pose": "a.mp4"},
        {"given": ("pose",)},
        r"row 3: condition 'pose' has 12 frames, but the video has 9: make one of each\.$",
    ),
    "too short a condition": (
        "a.mp4",
        {"pose": "b.webm"},
        {"given": ("pose",), "frames": 11},
        r"row 3: condition 'pose' has 9 frames, but the video has 12: make one of each\.$",
    ),
    "too small": ("a.mp4", {}, {"sizes": ((64, 64),)}, r"row 3: a\.mp4: the video is 32x24, too small for 64x64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_named_by_row_and_file(made, case):
    image, conditions, fields, message = REFUSED[case]
    stored = row(made / image, **{name: made / file for name, file in conditions.items()})
    with pytest.raises(RowError, match=message):
        maker(**fields)(stored)


def test_frames_of_another_size_or_that_are_no_pictures_are_named(tmp_path):
    VIDEO.write(tmp_path / "a", video(3))
    files = sorted((tmp_path / "a").iterdir())
    VIDEO.write(tmp_path / "b", video(1, height=48, width=64))
    (tmp_path / "b" / "00000.png").rename(files[1])
    with pytest.raises(RowError, match=r"row 3: a: frame 1 is of another size than the first\.$"):
        maker(fps=7)(row(tmp_path / "a"))
    files[1].write_bytes(b"none")
    with pytest.raises(PictureError, match=r"row 3: a: 00001\.png: the 4 bytes are no picture"):
        maker(fps=7)(row(tmp_path / "a"))


def test_few_frames_of_each_video_are_in_memory_at_a_time(made, monkeypatch):
    alive, most = [], 0
    pixels_of = clip_frames.pixels_of

    def counted(*args):
        nonlocal most
        found = pixels_of(*args)
        alive.append(weakref.ref(found))
        most = max(most, sum(ref() is not None for ref in alive))
        return found

    monkeypatch.setattr(clip_frames, "pixels_of", counted)
    maker(frames=9, given=("pose",))(row(made / "a.mp4", pose=made / "a"))
    assert len(alive) == 18 and most <= 6


def test_the_split_is_by_the_content_of_the_files(made, tmp_path):
    VIDEO.write(tmp_path / "other", video(12))
    (tmp_path / "other.mp4").write_bytes((made / "a.mp4").read_bytes())
    ranks = [rank_of(row(stored)) for stored in (made / "a.mp4", tmp_path / "other.mp4", made / "b.webm")]
    assert ranks[0] == ranks[1] != ranks[2]
    assert rank_of(row(made / "a")) == rank_of(row(tmp_path / "other")) not in ranks


def test_a_frame_is_read_once_for_the_split_however_many_clips_its_video_has(tmp_path, monkeypatch):
    for number in range(1100):
        (tmp_path / f"{number:04}.png").write_bytes(b"%d" % number)
    read, hashed = [], images.sha256_of
    monkeypatch.setattr(images, "sha256_of", lambda path: read.append(path) or hashed(path))
    assert len({rank_of(row(tmp_path)) for _ in range(3)}) == 1
    assert len(read) == 1100


def test_clips_that_cannot_be_used_are_left_out_and_listed_by_file(made, tmp_path):
    source, out = tmp_path / "videos", tmp_path / "set"
    source.mkdir()
    for name in ("a.mp4", "b.webm"):
        (source / name).write_bytes((made / name).read_bytes())
    (source / "c.mp4").write_bytes((made / "a.mp4").read_bytes()[:900])
    VIDEO.write(source / "d", video(2))
    rows = open_rows(str(source), Columns(conditions={}, clips=True))
    with pytest.raises(PictureError, match=r"^c\.mp4: the video cannot be read"):
        prepare(rows, Task(maker(fps=6), Encoding(), 9, False, {}), out, workers=2)
    metadata = prepare(rows, Task(maker(fps=6), Encoding(), 9, True, {}), out, workers=2)
    assert metadata.skipped == 2 and metadata.sizes == ((3, 16, 16), (3, 16, 24))
    skipped, short, longer = map(json.loads, (out / "report.jsonl").read_text().splitlines())
    assert (skipped["where"], short["where"], longer["note"]) == ("c.mp4", "d", LONGER)
    assert short["reason"] == "the video has 2 frames, but a clip of 3 takes the first 3."
    (first, second) = load_prepared(out)
    assert first["inputs"]["image"].shape == (3, 16, 24, 3) and second["fps"] == 6
    theirs = tfds.builder_from_directory(out).as_data_source("train")
    np.testing.assert_array_equal(theirs[0]["image"], first["inputs"]["image"])


def cut(source, most, **how):
    """Clips of a folder's videos, by the names that messages call them."""
    make = maker(**how)
    rows = ClipRows(
        open_rows(str(source), Columns(conditions={name: name for name in make.given}, clips=True)), make, most
    )
    found = {}
    for index in range(len(rows)):
        clip = make(rows[index])
        found[clip.where] = numbers(clip.image)
    return found


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """20 frames at 10 a second: as MP4 whose frames can be found at every sixth alone, WebM, GIF, and a folder."""
    folder = tmp_path_factory.mktemp("long")
    VIDEO.write(folder / "c.gif", video(20), fps=10)
    VIDEO.write(folder / "d", video(20))
    write_webm(folder / "b.webm", video(20), 10)
    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream(
            "libx264", rate=10, options={"crf": "4", "g": "6", "bf": "2", "x264-params": "open-gop=1"}
        )
        stream.height, stream.width, stream.pix_fmt = 24, 32, "yuv420p"
        for array in video(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    return folder


def test_long_videos_are_cut_into_clips_one_after_the_other_called_by_their_seconds(long):
    found = cut(long, None, fps=5)
    whole = {0: [0, 2, 4], 0.6: [6, 8, 10], 1.2: [12, 14, 16]}
    timed = {f"{name} at {at:g} s": frames for name in ("a.mp4", "b.webm", "c.gif") for at, frames in whole.items()}
    # Of a folder all are taken, which are said to be so many a second.
    seconds = ("0", "0.6", "1.2", "1.8", "2.4", "3")
    folder = {f"d at {at} s": [3 * clip, 3 * clip + 1, 3 * clip + 2] for clip, at in enumerate(seconds)}
    assert found == timed | folder
    assert list(cut(long, 2, fps=5)) == [name for name in found if name.endswith(("at 0 s", "at 0.6 s"))]
    assert [*cut(long, None, stride=3, frames=2, fps=7).values()][:4] == [[0, 3], [6, 9], [12, 15], [0, 3]]


def test_clips_that_begin_later_are_decoded_from_there_on(long, monkeypatch):
    decoded, frames = [], video_file._decoded
    monkeypatch.setattr(video_file, "_decoded", lambda *args: (decoded.append(1) or one for one in frames(*args)))
    make = maker(frames=2)
    rows = ClipRows(open_rows(str(long), Columns(conditions={}, clips=True)), maker(frames=2, fps=10), None)
    assert not decoded
    row = next(row for row in rows if row.where == "a.mp4" and row.start == 14)
    assert numbers(make(row).image) == [14, 15] and len(decoded) <= 1 + 6 + 2
    # As a condition, too.
    both = maker(frames=2, given=("pose",))
    clip = both(row._replace(conditions={"pose": row.image}))
    np.testing.assert_array_equal(clip.image, clip.conditions["pose"])


def test_all_clips_of_a_video_are_on_the_same_side_and_a_killed_preparation_goes_on(long, tmp_path, monkeypatch):
    rows = ClipRows(open_rows(str(long), Columns(conditions={}, clips=True)), maker(fps=5), None)
    ranks = sorted({rank_of(row) for row in rows})
    assert len(rows) == 15 and len(ranks) == 4
    make = maker(fps=5, test_fraction=(ranks[1] + ranks[2]) / 2**65, sizes=((16, 16),))

    def prepared(out):
        return prepare(rows, Task(make, Encoding(), 4, False, {}), out, workers=2)

    sides = [shard for shards in prepared(tmp_path / "whole").splits.values() for shard in shards]
    assert sum(shard.examples for shard in sides) == 15 and len(load_prepared(tmp_path / "whole", "test")) >= 6
    made, left = ClipMaker.__call__, iter(range(9))
    monkeypatch.setattr(ClipMaker, "__call__", lambda *args: made(*args) if next(left, None) is not None else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepared(tmp_path / "killed")
    monkeypatch.setattr(ClipMaker, "__call__", made)
    prepared(tmp_path / "killed")
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes(), path.name


def test_videos_that_cannot_be_cut_are_told_by_file(long, made, tmp_path):
    source = tmp_path / "videos"
    source.mkdir()
    (source / "a.mp4").write_bytes((long / "a.mp4").read_bytes())
    (source / "b.mp4").write_bytes((long / "a.mp4").read_bytes()[:900])
    VIDEO.write(source / "c.mp4", video(2), fps=10)
    rows = ClipRows(open_rows(str(source), Columns(conditions={}, clips=True)), maker(), None)
    assert len(rows) == 6 + 1 + 1
    with pytest.raises(RowError, match=r"^b\.mp4: the video cannot be read"):
        rows[6]
    with pytest.raises(RowError, match=r"^c\.mp4 at 0 s: the video has 2 frames, but a clip of 3 takes the first 3"):
        maker()(rows[7])
    columns = Columns(conditions={"pose": "pose"}, clips=True)
    for name in ("image", "pose"):
        (tmp_path / "both" / name).mkdir(parents=True)
    (tmp_path / "both" / "image" / "a.mp4").write_bytes((long / "a.mp4").read_bytes())
    (tmp_path / "both" / "pose" / "a.mp4").write_bytes((made / "a.mp4").read_bytes())
    with pytest.raises(
        RowError, match=r"^a\.mp4: condition 'pose' has 12 frames, but the video has 20: make one of each"
    ):
        ClipRows(open_rows(str(tmp_path / "both"), columns), maker(given=("pose",)), None)[0]


def test_what_is_left_at_the_end_is_told_once(long):
    make = maker(fps=5)
    rows = ClipRows(open_rows(str(long), Columns(conditions={}, clips=True)), make, None)
    assert [make(rows[index]).notes for index in range(3)] == [(), (), (LONGER,)]


class TestRows:
    def test_a_folder_of_clips_with_conditions_and_captions(self, tmp_path):
        for name in ("image/a.mp4", "image/b", "pose/a", "pose/b.gif"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            VIDEO.write(tmp_path / name, video(3), fps=10)
        columns = Columns(conditions={"pose": "pose"}, clips=True)
        rows = open_rows(str(tmp_path), columns)
        assert len(rows) == 2 and rows[0].caption == "" and rows[0].image == tmp_path / "image" / "a.mp4"
        assert [path.name for path in rows[0].conditions["pose"]] == ["00000.png", "00001.png", "00002.png"]
        assert rows[1].conditions["pose"] == tmp_path / "pose" / "b.gif" and len(rows[1].image) == 3
        before = rows.fingerprint()
        (tmp_path / "image" / "a.txt").write_text("a ramp")
        captioned = open_rows(str(tmp_path / "image"), columns)
        assert captioned[0].caption == "a ramp" and captioned.fingerprint() != before
        with pytest.raises(RowError, match=r"^b: its caption b\.txt is missing\.$"):
            captioned[1]
        (tmp_path / "image" / "b.txt").write_text("another")
        (tmp_path / "pose" / "b.gif").unlink()
        with pytest.raises(RowError, match=r"^b: there is no clip 'b' of 'pose' in"):
            open_rows(f"clips:{tmp_path}", columns)[1]

    def test_a_listing_names_files_and_folders_below_its_own(self, tmp_path):
        VIDEO.write(tmp_path / "a.mp4", video(3), fps=10)
        VIDEO.write(tmp_path / "a", video(3))
        lines = ['{"video": "a.mp4", "pose": "a"}', '{"video": "../b.mp4", "pose": "a"}', '{"video": "c", "pose": "a"}']
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
        rows = open_rows(str(tmp_path), Columns(conditions={"pose": "pose"}, clips=True))
        assert rows[0].image == tmp_path / "a.mp4" and len(rows[0].conditions["pose"]) == 3 and rows[0].caption == ""
        for index, message in {1: "lies outside of", 2: "cannot be read"}.items():
            with pytest.raises(RowError, match=rf"metadata\.jsonl row {index}: .*{message}"):
                rows[index]
        os.symlink("/etc/hostname", tmp_path / "a" / "00003.png")
        with pytest.raises(RowError, match=r"row 0: 'a/00003\.png' of 'pose' lies outside of"):
            rows[0]

    def test_videos_in_tables_and_shards_are_encoded(self, made, tmp_path):
        stored = (made / "a.mp4").read_bytes()
        pyarrow.parquet.write_table(pyarrow.table({"video": [stored]}), tmp_path / "a.parquet")
        with tarfile.open(tmp_path / "a.tar", "w") as shard:
            member = tarfile.TarInfo("0001.mp4")
            member.size = len(stored)
            shard.addfile(member, io.BytesIO(stored))
        for source in ("a.parquet", "a.tar"):
            (found,) = open_rows(str(tmp_path / source), Columns(conditions={}, clips=True))
            assert found.image == stored and found.caption == ""
            assert numbers(maker()(found).image) == [0, 1, 2]

    def test_what_holds_no_clips_is_told(self, tmp_path):
        VIDEO.write(tmp_path / "a.mp4", video(3), fps=10)
        clips = Columns(conditions={}, clips=True)
        with pytest.raises(ValueError, match=r"where clips such as 'a\.mp4' are meant, say how many --frames one has"):
            open_rows(str(tmp_path), Columns(conditions={}))
        with pytest.raises(ValueError, match="is one of clips: say how many --frames one has"):
            open_rows(f"clips:{tmp_path}", Columns(conditions={}))
        with pytest.raises(ValueError, match="has no folder 'pose' of conditions in it or beside it"):
            open_rows(str(tmp_path), Columns(conditions={"pose": "pose"}, clips=True))
        VIDEO.write(tmp_path / "a.gif", video(3), fps=10)
        with pytest.raises(ValueError, match=r"holds both a\.gif and a\.mp4: rename one"):
            open_rows(str(tmp_path), clips)
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="holds no clips"):
            open_rows(str(tmp_path / "empty"), clips)


def test_frames_a_second_that_are_no_whole_number_are_kept(tmp_path):
    VIDEO.write(tmp_path / "a.mp4", video(4), fps=Fraction(30000, 1001))
    clip = maker(fps=30)(row(tmp_path / "a.mp4"))
    assert numbers(clip.image) == [0, 1, 2] and maker()(row(tmp_path / "a.mp4")).fps == pytest.approx(29.97, abs=1e-3)
