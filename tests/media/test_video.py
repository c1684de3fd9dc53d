"""Clips as files: written, read back, and refused where they cannot be used."""

import importlib.util
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from lisa_jax.media.clip import pixels_of
from lisa_jax.media.frame_files import frames_of
from lisa_jax.media.grid import MARGIN
from lisa_jax.media.open_clip import open_clip, rate_and_length, read_clip
from lisa_jax.media.open_picture import PictureError
from lisa_jax.media.video import VIDEO, write
from lisa_jax.media.video_file import NoVideoError


def clip(frames=6, height=48, width=64):
    """A disc on a gradient, which moves to the right and is red in the first frame alone."""
    y, x = np.mgrid[:height, :width]
    gradient = np.stack([2 * x, 3 * y, np.full_like(x, 120)], axis=-1)
    inside = [(x - 10 - 5 * frame) ** 2 + (y - height // 2) ** 2 < 64 for frame in range(frames)]
    return np.stack(
        [
            np.where(disc[..., None], (250, 20, 20) if not f else (20, 20, 250), gradient)
            for f, disc in enumerate(inside)
        ]
    ).astype(np.uint8)


def write_mp4(path, frames, *, times=None, turned=0, ratio=None):
    """By PyAV alone: at 10 frames a second, or at these times in tenths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        if ratio:
            stream.sample_aspect_ratio = ratio
        if turned:
            stream.set_display_rotation(turned)
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def difference(found, expected):
    return np.abs(found.astype(int) - expected).mean()


@pytest.mark.parametrize(("name", "most"), [("a.mp4", 2.5), ("a.gif", 6), ("a", 0)])
def test_a_clip_is_read_as_it_was_written_and_only_frames_keep_every_bit(tmp_path, name, most):
    VIDEO.write(tmp_path / name, clip(), fps=12.5)
    # Twice, for another one is replaced.
    VIDEO.write(tmp_path / name, clip(), fps=12.5)
    found = VIDEO.read(tmp_path / name)
    assert found.shape == clip().shape and difference(found, clip()) <= most
    with open_clip(tmp_path / name, name) as opened:
        assert opened.count == 6 and opened.rate == (None if name == "a" else pytest.approx(12.5))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_colours_of_a_video_are_those_of_its_frames_and_odd_sides_are_filled_up(tmp_path):
    colours = np.asarray([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)], np.uint8)
    VIDEO.write(tmp_path / "a.mp4", np.broadcast_to(colours[:, None, None], (5, 15, 17, 3)))
    found = VIDEO.read(tmp_path / "a.mp4")
    assert found.shape == (5, 16, 18, 3)
    assert np.abs(found.astype(int) - colours[:, None, None]).max() <= 4


def test_length_and_rate_are_those_of_what_is_read(tmp_path):
    write_mp4(tmp_path / "a.mp4", clip())
    VIDEO.write(tmp_path / "a.gif", clip(), fps=10)
    VIDEO.write(tmp_path / "a", clip())
    assert [rate_and_length(tmp_path / name, name) for name in ("a.mp4", "a.gif", "a")] == [(10, 6), (10, 6), (None, 6)]
    VIDEO.write(tmp_path / "short.gif", clip()[:3], fps=10)
    assert rate_and_length(tmp_path / "short.gif", "short.gif") == (10, 3)
    for times in ([0, 1, 2, 3, 5, 6], [0, 1, 2, 3, 4, 9]):
        write_mp4(tmp_path / "a.mp4", clip(), times=times)
        with pytest.raises(PictureError, match="the frame rate varies"):
            rate_and_length(tmp_path / "a.mp4", "a.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a"])
def test_frames_are_numbered_alike_wherever_reading_begins(tmp_path, name):
    VIDEO.write(tmp_path / name, clip(), fps=10)
    with open_clip(tmp_path / name, name) as opened:
        whole = [pixels_of(frame, name) for frame in opened.frames]
    for start in range(1, 6):
        with open_clip(tmp_path / name, name, start) as opened:
            found = [pixels_of(frame, name) for frame in opened.frames]
            assert opened.first <= start
            np.testing.assert_array_equal(found, whole[opened.first :])


def test_a_video_that_says_so_is_turned(tmp_path):
    write_mp4(tmp_path / "a.mp4", clip(), turned=90)
    found = read_clip(tmp_path / "a.mp4", "a.mp4")
    assert found.shape == (6, 64, 48, 3) and difference(found, np.rot90(clip(), axes=(1, 2))) < 3


def test_a_webm_in_memory_is_a_clip(tmp_path):
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libvpx", rate=8, options={"crf": "8", "b": "4M", "auto-alt-ref": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for array in clip():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    stored = (tmp_path / "a.webm").read_bytes()
    assert difference(read_clip(stored, "row 3"), clip()) < 5
    with open_clip(stored, "row 3") as opened:
        assert opened.rate == 8


def test_what_is_transparent_in_a_gif_lies_on_white(tmp_path):
    frames = [Image.new("RGBA", (8, 8), (200, 0, 0, 255 * number)) for number in (0, 1)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    found = read_clip(tmp_path / "a.gif", "a.gif")
    assert (found[0] == 255).all() and (found[1] == (200, 0, 0)).all()


def test_equal_frames_that_a_gif_joins_are_as_many_again(tmp_path):
    video = clip()[[0, 0, 0, 1, 2, 2]]
    VIDEO.write(tmp_path / "a.gif", video, fps=30)
    assert Image.open(tmp_path / "a.gif").n_frames == 3
    found = VIDEO.read(tmp_path / "a.gif")
    assert found.shape == video.shape and difference(found, video) < 6


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1, 100):
        Image.new("RGB", (4, 4)).save(tmp_path / f"frame_{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    assert [path.stem for path in frames_of(tmp_path, "")] == ["frame_1", "frame_9", "frame_10", "frame_100"]


def test_frames_that_are_missing_or_there_twice_are_named(tmp_path):
    def folder(name, *stems, suffix=".png"):
        (tmp_path / name).mkdir(exist_ok=True)
        for stem in stems:
            Image.new("RGB", (4, 4)).save(tmp_path / name / f"{stem}{suffix}")
        return tmp_path / name

    for name, stems in {
        "times": ("1.5", "1.6", "1.9"),
        "tenth": (10, 20, 30),
        "names": ("a", "b"),
        "one": (7,),
    }.items():
        assert len(frames_of(folder(name, *stems), "")) == len(stems)
    with pytest.raises(PictureError, match=r"^row 1: in the folder 'gap' frames are missing after f_3\.png\.$"):
        frames_of(folder("gap", "f_1", "f_2", "f_3", "f_5", "f_6"), "row 1")
    folder("twice", 1, 2)
    with pytest.raises(PictureError, match=r"^row 1: the folder 'twice' holds both 2\.jpg and 2\.png: keep one\.$"):
        frames_of(folder("twice", 2, suffix=".jpg"), "row 1")


def test_frames_are_read_one_at_a_time(tmp_path):
    VIDEO.write(tmp_path / "a", clip())
    (tmp_path / "a" / "00003.png").write_bytes(b"no picture")
    with open_clip(tmp_path / "a", "a") as opened:
        for frame in list(opened.frames)[:3]:
            frame.stored()
    with pytest.raises(PictureError, match="no picture of a known format"):
        read_clip(tmp_path / "a", "a")


def damaged(path):
    write_mp4(path, clip())
    path.write_bytes(path.read_bytes()[:1500])


def playlist(path):
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")


REFUSED = {
    "a video that is cut": (damaged, r"a\.mp4: the video cannot be read"),
    "a list of addresses": (playlist, r"a\.mp4: the video cannot be read"),
    "a frame left out": (
        lambda path: write_mp4(path, clip(), times=[0, 1, 2, 4, 5, 6]),
        r"a\.mp4: frame \d comes 0\.\d+ s after the one before, .* the frame rate varies",
    ),
    "pixels that are not square": (
        lambda path: write_mp4(path, clip(), ratio=Fraction(4, 3)),
        r"a\.mp4: the video's pixels are not square \(4/3\)",
    ),
    "a folder without frames": (lambda path: path.mkdir(), r"a\.mp4: the folder 'a\.mp4' holds no frames"),
    "nothing": (lambda path: None, r"a\.mp4: .*cannot be read \(No such file"),
    "a GIF that is cut": (lambda path: path.write_bytes(b"GIF89a\x08\x00"), r"a\.mp4: the clip is damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_clip_is_refused_by_name(tmp_path, case):
    make, message = REFUSED[case]
    make(tmp_path / "a.mp4")
    with pytest.raises(PictureError, match=message):
        read_clip(tmp_path / "a.mp4", "a.mp4")


def test_without_pyav_frames_and_gifs_are_written_and_of_mp4_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("a", "a.gif"):
        write(tmp_path / name, clip())
        VIDEO.check_writes((tmp_path / name).suffix)
    for call in (lambda: write(tmp_path / "a.mp4", clip()), lambda: VIDEO.check_writes(".mp4")):
        with pytest.raises(NoVideoError, match=r"pip install 'lisa_jax\[video\]'"):
            call()


def test_a_sheet_shows_first_and_last_frame_and_what_is_between(tmp_path):
    values = np.arange(0, 200, 20, dtype=np.uint8)[:, None, None, None]
    found = VIDEO.sheet({"sample": np.broadcast_to(values, (2, 10, 8, 8, 3))}, cell=40)
    shown = [int(found[8 + 20, MARGIN + 20 + column * (40 + MARGIN), 0]) for column in range(4)]
    assert shown == [0, 60, 120, 180]
    with pytest.raises(ValueError, match=r"written as \.mp4, \.gif or folders"):
        VIDEO.write(tmp_path / "a.avi", np.zeros((1, 8, 8, 3), np.uint8))


def test_a_moving_sheet_holds_the_last_frame_of_shorter_clips():
    long, short = (
        np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((8, 8, 3), np.uint8) for count in (3, 2)
    )
    found = read_clip(VIDEO.moving({"long": [100 * long], "short": [100 * short]}, cell=40), "")
    shown = found[:, 28, [MARGIN + 20, 2 * MARGIN + 60], 0]
    assert shown.tolist() == [[0, 0], [100, 100], [200, 100]]


def test_left_and_right_are_exchanged_in_every_frame():
    np.testing.assert_array_equal(VIDEO.mirror(clip()), clip()[:, :, ::-1])
