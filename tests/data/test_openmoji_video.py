import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lisa_jax.data.conditions.of_example import condition_of
from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.embedded.openmoji import catalogue
from lisa_jax.data.embedded.openmoji.rendering import render_image, render_lineart, render_mask
from lisa_jax.data.embedded.openmoji_video.motion import SIDE, Place, motion_in_words, sample_motion
from lisa_jax.data.embedded.openmoji_video.scenes import moved, sample_clip
from lisa_jax.media.video import VIDEO

SIZE = (3, 16, 16)
MIDDLE = SIDE / 2
# Of a pixel of 16.
PIXEL = SIDE / 16


@pytest.fixture(scope="module")
def drawings():
    """Five for training, two for testing."""
    by_split = {"train": [], "test": []}
    for drawing in catalogue.drawings():
        by_split[drawing.split].append(drawing)
    return [*by_split["train"][300:305], *by_split["test"][40:42]]


def _with_transforms_of_its_own():
    """A drawing whose layers are moved already."""
    svgs = (drawing.svg() for drawing in catalogue.drawings())
    return next(svg for svg in svgs if any(layer.get("transform") for layer in ET.fromstring(svg)))


@pytest.fixture(scope="module")
def clips(drawings, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "drawings", lambda: drawings)
        patch.setenv("LISA_JAX_DATA", str(tmp_path_factory.mktemp("clips")))
        return {split: load_embedded("openmoji_video", SIZE, split) for split in ("train", "test")}


def test_a_clip_has_its_frames_and_what_is_true_of_each(clips, drawings):
    assert [len(source) for source in clips.values()] == [5, 2]
    assert clips["train"].fingerprint == "openmoji_video/size_3x16/1.0.0"
    known = {drawing.codepoints: drawing for drawing in drawings}
    for split, source in clips.items():
        for example in source:
            clip = sample_clip(known[example["codepoints"]], 3)
            assert clip.drawing.split == split and example["caption"] == clip.caption
            assert source.category_names[example["category"]] == clip.drawing.category
            for number, (frame, alone) in enumerate(zip(clip.frames(), clip.moved(), strict=True)):
                np.testing.assert_array_equal(example["image"][number], render_image(frame, 16))
                np.testing.assert_array_equal(example["lineart"][number], render_lineart(alone, 16))
                np.testing.assert_array_equal(example["labels"][number], render_mask(alone, 16))
            np.testing.assert_array_equal(example["first_frame"], example["image"][0])
            assert example["size"] == example["original_size"] == (16, 16) and example["crop"] == (0, 0)


def test_line_art_of_a_frame_is_that_of_its_picture_with_its_background(drawings):
    clip = sample_clip(drawings[0], 2)
    for frame, alone in zip(clip.frames(), clip.moved(), strict=True):
        np.testing.assert_array_equal(render_lineart(frame, 32), render_lineart(alone, 32))
        assert render_mask(frame, 32).all() and 0.03 < render_mask(alone, 32).mean() < 0.6


def test_mask_and_lines_move_by_exactly_the_motion(drawings):
    for svg in (drawings[0].svg(), drawings[1].svg(), _with_transforms_of_its_own()):
        start, right, down, turned = (
            moved(svg, place)
            for place in (
                Place(MIDDLE, MIDDLE, 0.0, 0.5),
                Place(MIDDLE + 2 * PIXEL, MIDDLE, 0.0, 0.5),
                Place(MIDDLE, MIDDLE + 3 * PIXEL, 0.0, 0.5),
                Place(MIDDLE, MIDDLE, 90.0, 0.5),
            )
        )
        mask, lines = render_mask(start, 16), render_lineart(start, 16).astype(int)
        assert mask.any() and lines.any()
        for found, change in (
            (right, lambda one: np.roll(one, 2, axis=1)),
            (down, lambda one: np.roll(one, 3, axis=0)),
            (turned, lambda one: np.rot90(one, -1)),
        ):
            np.testing.assert_array_equal(render_mask(found, 16), change(mask))
            np.testing.assert_allclose(render_lineart(found, 16), change(lines), atol=2)


def test_a_place_that_is_the_whole_picture_leaves_the_drawing_as_it_is(drawings):
    whole = Place(MIDDLE, MIDDLE, 0.0, 1.0)
    for svg in (drawings[0].svg(), _with_transforms_of_its_own()):
        np.testing.assert_array_equal(render_image(moved(svg, whole), 32), render_image(svg, 32))
        np.testing.assert_array_equal(render_lineart(moved(svg, whole), 32), render_lineart(svg, 32))


def test_motions_are_even_stay_within_the_picture_and_more_frames_show_the_same():
    for seed in range(20):
        few, many = (sample_motion(np.random.default_rng(seed), frames) for frames in (5, 9))
        found = np.array([dataclasses.astuple(place) for place in many])
        np.testing.assert_allclose(np.diff(found, axis=0), np.diff(found, axis=0)[:1].repeat(8, 0), atol=1e-9)
        np.testing.assert_allclose([dataclasses.astuple(place) for place in few], found[::2], atol=1e-9)
        assert all(
            place.size / 2 * SIDE <= min(axis, SIDE - axis) + 1e-9 for place in many for axis in (place.x, place.y)
        )
        assert np.hypot(*(found[-1] - found[0])[:2]) > 0.1 * SIDE


def test_the_background_stands_still_and_differs_from_clip_to_clip(clips):
    source = clips["train"]
    for example in source:
        near = np.pad(example["labels"].any(axis=0) | example["lineart"].any(axis=(0, 3)), 1)
        behind = ~np.max([np.roll(near, shift, (0, 1)) for shift in np.ndindex(3, 3)], axis=0)[2:, 2:]
        assert behind.sum() > 20
        np.testing.assert_array_equal(example["image"][1][behind], example["image"][0][behind])
        assert example["image"][:, behind].max(axis=-1).min() > 150
    assert len({example["image"][0, 0, 0].tobytes() for example in source}) == len(source)


def test_conditions_are_those_of_the_frames_mirrored_too(clips):
    example = clips["test"][0]
    lines = condition_of(get_condition("lineart"), example, 3, name="lineart", where="clip 0")
    np.testing.assert_array_equal(lines, example["lineart"].repeat(3, axis=-1))
    mirrored = {**example, "lineart": VIDEO.mirror(example["lineart"])}
    found = condition_of(get_condition("lineart"), mirrored, 3, name="lineart", where="clip 0")
    np.testing.assert_array_equal(found, VIDEO.mirror(lines))
    low = condition_of(get_condition("lowres"), example, 3, name="lowres", where="clip 0")
    assert low.shape == (*SIZE, 3)


def test_captions_are_true_of_mirrored_clips():
    for start, end in (((20, 36), (50, 40)), ((30, 20), (40, 50)), ((30, 50), (40, 20))):
        there = (Place(*start, 0.0, 0.5), Place(*end, 9.0, 0.6))
        mirrored = tuple(dataclasses.replace(place, x=SIDE - place.x, turn=-place.turn) for place in there)
        assert motion_in_words(there) == motion_in_words(mirrored)
    assert motion_in_words(there) == "rising and coming nearer"
