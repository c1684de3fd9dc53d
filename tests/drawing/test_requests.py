"""Prompts and condition pictures."""

import os

import numpy as np
import pytest
from PIL import Image

from lisa_jax.data.rows import Row
from lisa_jax.drawing.examined import examined
from lisa_jax.drawing.inputs import fitted_conditions
from lisa_jax.drawing.requests import Request, numbers_by_name, requests_of_flags
from lisa_jax.experiments.kinds import Number
from lisa_jax.preparing.images import ImageMaker

NAMES = ("pose", "depth")
ONE = ("pose",)


def write_picture(path, size=(8, 8), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_the_ith_prompt_has_the_ith_condition(tmp_path):
    pixels = write_picture(tmp_path / "a.png")
    (request,) = requests_of_flags(["cat"], [str(tmp_path / "a.png")], ONE)
    assert request.prompt == "cat" and request.negative_prompt is None
    np.testing.assert_array_equal(fitted_conditions(request, (8, 8))["pose"], pixels)
    (both,) = requests_of_flags(["cat"], [f"{tmp_path}/a.png,{tmp_path}/b.png"], NAMES)
    assert both.conditions == {"pose": tmp_path / "a.png", "depth": tmp_path / "b.png"}


@pytest.mark.parametrize(
    ("conditions", "names", "message"),
    [([], ONE, "--prompt is given 1 times and --condition 0"), (["a.png"], NAMES, "has 1 files: give one for each of")],
)
def test_prompts_without_their_conditions_are_refused(conditions, names, message):
    with pytest.raises(ValueError, match=message):
        requests_of_flags(["cat"], conditions, names)


def test_conditions_are_resized_and_cropped_alike(tmp_path):
    large = write_picture(tmp_path / "a.png", (16, 32))
    Image.fromarray(large).resize((16, 8), Image.Resampling.BOX).save(tmp_path / "b.png")
    (request,) = requests_of_flags(["cat"], [f"{tmp_path}/a.png,{tmp_path}/b.png"], NAMES)
    found = fitted_conditions(request, (8, 8))
    assert all(found[name].shape == (8, 8, 3) for name in NAMES)
    # The middle of both, at half the size of the first.
    middle = np.asarray(Image.open(tmp_path / "b.png"))[:, 4:12]
    np.testing.assert_array_equal(found["depth"], middle)
    assert np.abs(found["pose"].astype(int) - middle).mean() < np.abs(found["pose"].astype(int) - middle[::-1]).mean()


def written(folder, kind):
    """A picture as people have them, not square."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (24, 40, 3), np.uint8)
    path = folder / f"{kind}.png"
    if kind == "16 bit":
        Image.fromarray(np.linspace(0, 65535, 24 * 40).reshape(24, 40).astype(np.uint16)).save(path)
    elif kind == "turned":
        path = path.with_suffix(".jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(colours).save(path, exif=exif)
    elif kind == "palette":
        Image.fromarray(colours).convert("P").save(path)
    elif kind == "transparent":
        Image.fromarray(rng.integers(0, 256, (24, 40, 4), np.uint8)).save(path)
    else:
        # Blocks of a colour each, as segmentation has them.
        Image.fromarray(np.kron(colours[:6, :10], np.ones((4, 4, 1), np.uint8))).save(path)
    return path


@pytest.mark.parametrize("kind", ["16 bit", "turned", "palette", "transparent", "label colours"])
@pytest.mark.parametrize("size", [(16, 16), (32, 24)])
def test_what_is_sampled_from_is_what_is_trained_on(tmp_path, kind, size):
    path = written(tmp_path, kind)
    nearest = ("pose",) if kind == "label colours" else ()
    prepare = ImageMaker([size], ONE, {}, 0.0, nearest, min_size=1)
    prepared = prepare(Row("row 0", path.read_bytes(), {"pose": path.read_bytes()}, "cat", {})).conditions["pose"]
    sampled = fitted_conditions(Request("row 0", "cat", {"pose": path}), size, nearest)["pose"]
    assert prepared.dtype == sampled.dtype == np.uint8 and prepared.std() > 10
    np.testing.assert_array_equal(sampled, prepared)
    if nearest:
        colours = {*map(tuple, np.asarray(Image.open(path)).reshape(-1, 3))}
        assert {*map(tuple, sampled.reshape(-1, 3))} <= colours


def test_what_cannot_be_prepared_cannot_be_sampled_from(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tif")
    os.mkfifo(tmp_path / "pipe.png")
    refused = {
        "text.png": "are no picture of a known format",
        "float.tif": "whose black and white are not known",
        "pipe.png": "a named pipe",
        "nothing.png": r"nothing\.png' of 'pose' cannot be read \(No such file",
        "of\\windows.png": "folders are separated by /",
        "nul\0.png": "cannot be read",
    }
    for name, complaint in refused.items():
        (request,) = requests_of_flags(["cat"], [f"{tmp_path}/{name}"], ONE)
        with pytest.raises(ValueError, match=f"--condition={tmp_path}/.*{complaint}"):
            examined(request)


def test_conditions_of_different_shapes_are_named_and_no_image(tmp_path):
    write_picture(tmp_path / "a.png", (8, 16))
    write_picture(tmp_path / "b.png", (8, 8))
    (request,) = requests_of_flags(["cat"], [f"{tmp_path}/a.png,{tmp_path}/b.png"], NAMES)
    with pytest.raises(ValueError, match="condition 'depth' is 8x8, but the condition 'pose' is 16x8"):
        fitted_conditions(request, (8, 8))


def test_a_digest_changes_with_prompt_and_picture(tmp_path):
    def digest(prompt, seed):
        write_picture(tmp_path / "a.png", seed=seed)
        return examined(requests_of_flags([prompt], [str(tmp_path / "a.png")], ONE)[0]).digest

    assert digest("cat", 0) == digest("cat", 0)
    assert len({digest("cat", 0), digest("dog", 0), digest("cat", 1)}) == 3


def test_half_a_character_is_no_prompt():
    with pytest.raises(ValueError, match=r"line 3: the prompt '\\ud800' holds half a character"):
        Request("line 3", "\ud800", {})


def test_numbers_of_side_networks():
    def numbers(parts, names=NAMES):
        return numbers_by_name("control_scale", parts, names, Number(least=0, most=10))

    assert numbers(["0.5"], ONE) == numbers(["0.5"]) == 0.5
    assert numbers(["0.5", "1"]) == {"pose": 0.5, "depth": 1.0}
    assert numbers(["depth=1", "pose=0.5"]) == {"pose": 0.5, "depth": 1.0}
    assert numbers(None) is None
    for parts in (["1", "2", "3"], ["pose=1"], ["pose=1", "depth"], ["much"], [], ["nan"], ["-1"], ["1", "11"]):
        with pytest.raises(ValueError, match=r"--control_scale=.*: give one number, or one for each of pose, depth: "):
            numbers(parts)
