"""Videos that are asked for by conditions which are videos, and by a first frame."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lisa_jax.data.rows import RowError
from lisa_jax.drawing.examined import examined
from lisa_jax.drawing.inputs import drawings_of_requests, fitted_conditions
from lisa_jax.drawing.listing import read_listing
from lisa_jax.drawing.order import check_words_and_frames
from lisa_jax.drawing.requests import ClipRequest, Request, requests_of_flags
from lisa_jax.media.video import VIDEO

FRAMES = np.random.default_rng(0).integers(0, 256, (9, 16, 24, 3), np.uint8)
SEES = SimpleNamespace(sees_pictures=True, reads_captions=False)
READS = SimpleNamespace(sees_pictures=False, reads_captions=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Nine frames as a folder, and four times as large as a video at 12 a second; two pictures to begin with."""
    folder = tmp_path_factory.mktemp("files")
    VIDEO.write(folder / "pose.mp4", np.repeat(np.repeat(FRAMES, 4, 1), 4, 2), fps=12)
    VIDEO.write(folder / "seg", FRAMES)
    Image.fromarray(FRAMES[0].repeat(2, axis=0).repeat(2, axis=1)).save(folder / "first.png")
    Image.new("RGB", (16, 16)).save(folder / "square.png")
    return folder


def request(files, fps=None, frames=3, first="first.png", motion=None, **names):
    names = names or {"seg": "seg"}
    conditions = {name: files / file for name, file in names.items()}
    return Request("line 2", "", conditions, first_frame=files / first, clip=ClipRequest(frames, fps, motion))


def test_every_frame_is_fitted_and_frames_are_taken_by_their_times(files):
    np.testing.assert_array_equal(fitted_conditions(request(files), (16, 24))["seg"], FRAMES[:3])
    found = fitted_conditions(request(files, 4.0, pose="pose.mp4", seg="seg"), (16, 16), channels={"seg": 1})
    assert found["pose"].shape == (3, 16, 16, 3) and found["seg"].shape == (3, 16, 16, 1)
    distances = np.abs(found["pose"].astype(int)[:, None] - FRAMES[None, :, :, 4:20]).mean(axis=(2, 3, 4))
    assert distances.argmin(axis=1).tolist() == [0, 3, 6] and distances.min(axis=1).max() < 25


def test_what_a_request_is_made_of_is_read_once_and_told(files, tmp_path):
    found = examined(request(files, 4.0, pose="pose.mp4", seg="seg"))
    assert found.size == (64, 96) and found.hashes.keys() == {"pose", "seg", "first_frame"}
    record = found.record((16, 24))
    assert record["fps"] == 4 and record["conditions"]["first_frame"]["file"].endswith("first.png")
    again = examined(request(files, 4.0, pose="pose.mp4", seg="seg"))
    assert found.digest == again.digest != examined(request(files, 4.0, pose="pose.mp4")).digest
    for message, wrong in {
        "seg: the video has 9 frames, but one of 10 takes the first 10": request(files, frames=10),
        "12 frames a second, fewer than --fps=24": request(files, 24.0, pose="pose.mp4"),
        "size mismatch: condition 'seg' is 24x16, but the first frame is": request(files, first="square.png"),
        "nothing' of 'seg' cannot be read": request(files, seg="nothing"),
    }.items():
        with pytest.raises(RowError, match=f"^line 2: .*{message}"):
            examined(wrong)


def test_the_conditioner_reads_first_frame_rate_and_motion(files):
    seen = []

    def contexts(examples, at_once):
        seen.extend(examples)
        return {"tokens": np.zeros((len(examples), 1))}

    conditioner = SimpleNamespace(contexts=contexts, negatives=lambda context, prompts: context, sees_pictures=True)
    asked = [request(files), request(files, 6.0, motion=40), request(files, pose="pose.mp4")]
    drawings = list(drawings_of_requests(asked, [(16, 24)] * 3, conditioner, ""))
    assert [drawing.fps for drawing in drawings] == [example["fps"] for example in seen] == [7, 6, 12]
    assert [example.get("motion") for example in seen] == [None, 40, None]
    assert drawings[0].conditions["seg"].shape == (3, 16, 24, 3)
    assert all(np.abs(example["first_frame"].astype(int) - FRAMES[0]).mean() < 20 for example in seen)


def test_a_first_frame_is_given_where_the_base_reads_one_and_nowhere_else(files):
    given, none = request(files), Request("line 3", "", {"seg": files / "seg"})
    check_words_and_frames([given], SEES)
    check_words_and_frames([none], READS)
    with pytest.raises(ValueError, match="line 3: this base goes on from a picture: give --first_frame"):
        check_words_and_frames([given, none], SEES)
    with pytest.raises(ValueError, match="line 2: this base looks at no first frame: leave"):
        check_words_and_frames([given], READS)
    with pytest.raises(ValueError, match="this base reads no captions: leave the prompt 'a cat' out"):
        check_words_and_frames([dataclasses.replace(given, prompt="a cat")], SEES)


def test_a_listing_of_videos_needs_no_prompts(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"condition": "a.mp4", "first_frame": "a.png"}\n{"condition": "b.mp4"}')
    first, second = read_listing(tmp_path / "rows.jsonl", ("pose",), clips=True)
    assert first.first_frame == tmp_path / "a.png" and (first.prompt, second.first_frame) == ("", None)
    with pytest.raises(ValueError, match="line 1 has no prompt: a row has prompt, condition and maybe negative_prompt"):
        read_listing(tmp_path / "rows.jsonl", ("pose",))


def test_each_condition_has_its_first_frame():
    (found,) = requests_of_flags([""], ["a.mp4"], ("pose",), ["a.png"])
    assert str(found.first_frame) == "a.png"
    with pytest.raises(ValueError, match="--first_frame is given 1 times and --condition 2 times: give each condition"):
        requests_of_flags(["", ""], ["a.mp4", "b.mp4"], ("pose",), ["a.png"])
