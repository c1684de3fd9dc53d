"""Prompts and condition pictures, from flags and listings."""

import json

import numpy as np
import pytest
from PIL import Image

from lisa_jax.drawing.requests import load_conditions, numbers_by_name, read_listing, requests_of_flags

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
    np.testing.assert_array_equal(load_conditions(request, (8, 8))["pose"], pixels)
    (both,) = requests_of_flags(["cat"], [f"{tmp_path}/a.png,{tmp_path}/b.png"], NAMES)
    assert both.conditions == {"pose": tmp_path / "a.png", "depth": tmp_path / "b.png"}


@pytest.mark.parametrize(
    ("conditions", "names", "message"),
    [([], ONE, "--prompt is given 1 times and --condition 0"), (["a.png"], NAMES, "has 1 files: give one for each of")],
)
def test_prompts_without_their_conditions_are_refused(conditions, names, message):
    with pytest.raises(ValueError, match=message):
        requests_of_flags(["cat"], conditions, names)


def test_a_jsonl_and_a_csv_listing_say_the_same(tmp_path):
    rows = [
        {"prompt": "cat, red", "condition": "a.png", "negative_prompt": "dog"},
        {"prompt": "é", "condition": "b.png"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "rows.csv").write_text('prompt,condition,negative_prompt\n"cat, red",a.png,dog\né,b.png,\n')
    found = [read_listing(tmp_path / f"rows.{kind}", ONE) for kind in ("jsonl", "csv")]
    for requests in found:
        assert [request.prompt for request in requests] == ["cat, red", "é"]
        assert [request.negative_prompt for request in requests] == ["dog", None]
        assert [request.conditions["pose"] for request in requests] == [tmp_path / "a.png", tmp_path / "b.png"]


def test_a_listing_names_the_condition_of_each_side_network(tmp_path):
    row = {"prompt": "cat", "condition_depth": "d.png", "condition_pose": "p.png"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (request,) = read_listing(tmp_path / "rows.jsonl", NAMES)
    assert request.conditions == {"pose": tmp_path / "p.png", "depth": tmp_path / "d.png"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"prompt": "cat"}', "line 1 has no condition"),
        ("rows.jsonl", '{"prompt": "cat", "condition": "a.png", "seed": 1}', "line 1 has an unknown field seed"),
        ("rows.jsonl", '{"prompt": "cat", "condition": "a.png"}\n{', "line 2 is not JSON"),
        ("rows.jsonl", "\n", "has no rows"),
        ("rows.csv", "prompt\ncat\n", "row 1 has no condition"),
        ("rows.txt", "cat", "neither a .jsonl nor a .csv"),
    ],
)
def test_bad_listings_are_refused_by_row(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_listing(tmp_path / name, ONE)


def test_conditions_are_resized_and_cropped_alike(tmp_path):
    large = write_picture(tmp_path / "a.png", (16, 32))
    Image.fromarray(large).resize((16, 8), Image.Resampling.BOX).save(tmp_path / "b.png")
    (request,) = requests_of_flags(["cat"], [f"{tmp_path}/a.png,{tmp_path}/b.png"], NAMES)
    found = load_conditions(request, (8, 8))
    assert all(found[name].shape == (8, 8, 3) for name in NAMES)
    # The middle of both, at half the size of the first.
    middle = np.asarray(Image.open(tmp_path / "b.png"))[:, 4:12]
    np.testing.assert_array_equal(found["depth"], middle)
    assert np.abs(found["pose"].astype(int) - middle).mean() < np.abs(found["pose"].astype(int) - middle[::-1]).mean()


def test_unreadable_pictures_are_named(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    (request,) = requests_of_flags(["cat"], [str(tmp_path / "a.png")], ONE)
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a picture"):
        load_conditions(request, (8, 8))


def test_a_digest_changes_with_prompt_and_picture(tmp_path):
    def digest(prompt, seed):
        write_picture(tmp_path / "a.png", seed=seed)
        return requests_of_flags([prompt], [str(tmp_path / "a.png")], ONE)[0].digest()

    assert digest("cat", 0) == digest("cat", 0)
    assert len({digest("cat", 0), digest("dog", 0), digest("cat", 1)}) == 3


def test_numbers_of_side_networks():
    assert numbers_by_name("control_scale", ["0.5"], ONE) == numbers_by_name("control_scale", ["0.5"], NAMES) == 0.5
    assert numbers_by_name("control_scale", ["0.5", "1"], NAMES) == {"pose": 0.5, "depth": 1.0}
    assert numbers_by_name("control_scale", ["depth=1", "pose=0.5"], NAMES) == {"pose": 0.5, "depth": 1.0}
    assert numbers_by_name("control_scale", None, NAMES) is None
    for parts in (["1", "2", "3"], ["pose=1"], ["pose=1", "depth"], ["much"]):
        with pytest.raises(ValueError, match=r"--control_scale=.*: give one number, or one for each of pose, depth"):
            numbers_by_name("control_scale", parts, NAMES)
