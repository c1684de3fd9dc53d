"""Prompts and condition pictures from a listing."""

import json
import os

import pytest

from lisa_jax.drawing.listing import read_listing

NAMES = ("pose", "depth")
ONE = ("pose",)


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
        ("rows.jsonl", '{"prompt": "cat", "condition": "a.png"}\n\n{', "line 3 is not valid JSON"),
        ("rows.jsonl", "[1]", "line 1 holds a JSON list, but must hold an object"),
        (
            "rows.jsonl",
            '{"prompt": "cat", "condition": "a.png", "negative_prompt": 3}',
            "negative_prompt is 3, but must",
        ),
        ("rows.jsonl", "\n", "has no rows"),
        ("rows.csv", "prompt\ncat\n", "row 1 has no condition"),
        ("rows.csv", "prompt,condition\ncat,\n", "row 1 has no condition"),
        ("rows.csv", "prompt,condition\ncat, red, a.png\n", "row 1 has .cells beyond the header: .* quote what"),
        ("rows.txt", "cat", "neither a .jsonl nor a .csv"),
    ],
)
def test_bad_listings_are_refused_by_row(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_listing(tmp_path / name, ONE)


@pytest.mark.parametrize("content", ["\ufeff{}\r\n\r\n{}\r\n", "{}\n{}", "\n {} \n\n{}\n"])
def test_a_listing_is_read_as_the_metadata_of_folders_is(tmp_path, content):
    rows = [json.dumps({"prompt": word, "condition": "a.png"}, ensure_ascii=False) for word in ("Käse", "猫")]
    (tmp_path / "rows.jsonl").write_bytes(content.format(*rows).encode() if "{}" in content else b"")
    assert [request.prompt for request in read_listing(tmp_path / "rows.jsonl", ONE)] == ["Käse", "猫"]


def test_a_listing_that_is_no_text_or_no_file_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes('{"prompt": "Käse", "condition": "a.png"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"rows\.jsonl: line 1 is not UTF-8 text"):
        read_listing(tmp_path / "rows.jsonl", ONE)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ValueError, match=r"pipe\.jsonl' is a named pipe"):
        read_listing(tmp_path / "pipe.jsonl", ONE)
