"""`lisa_jax.json` as others may have changed it: each way is named, and nothing is set aside for what it claims."""

import dataclasses
import json

import pytest

from lisa_jax.data.prepared.metadata import Feature, Metadata, Shard

WRITTEN = Metadata(
    sizes=((64, 64), (64, 96)),
    features={
        "moments": Feature(("moments",), "bfloat16", ((8, 8, 8), (8, 12, 8))),
        "condition.pose": Feature(("condition", "pose"), "uint8", ((64, 64, 3), (64, 96, 3))),
    },
    base="abc",
    settings={"source": "def"},
    skipped=0,
    splits={"train": (Shard("prepared-train.array_record-00000-of-00001", 65536, ((0, 5), (1, 2)), "12", "34"),)},
)


WRITTEN_SHARD = dataclasses.asdict(WRITTEN.splits["train"][0])


def set_in(content, place, value):
    *parents, key = place
    for parent in parents:
        content = content[parent]
    content[key] = value


SHARD = ("splits", "train", 0)
DAMAGED = {
    "a count": ((*SHARD, "runs", 0, 1), 4, "its content has changed since it was written"),
    "a huge count": ((*SHARD, "runs", 0, 1), 10**12, r"splits\.train\[0\] has 1,000,000,000,002 examples in 65,536"),
    "a negative count": ((*SHARD, "runs", 0, 1), -1, r"splits\.train\[0\]\.runs names a size that there is not"),
    "a size that there is not": ((*SHARD, "runs", 0, 0), 2, r"splits\.train\[0\]\.runs names a size that there is not"),
    "half a run": ((*SHARD, "runs", 0), [1], r"splits\.train\[0\]\.runs\[0\] is \[1\], but must be a list of 2"),
    "a file elsewhere": (
        (*SHARD, "file"),
        "../../x",
        r"splits\.train\[0\]\.file is '\.\./\.\./x', but must be the name",
    ),
    "a size in words": ((*SHARD, "bytes"), "many", r"splits\.train\[0\]\.bytes is 'many', but must be a whole number"),
    "a truth for a number": (("skipped",), True, "skipped is True, but must be a whole number"),
    "a negative side": (
        ("sizes", 0),
        [-64, 64],
        r"sizes\[0\] is \[-64, 64\], but sides are two or three, each 1 or more",
    ),
    "a list for an object": (("splits",), [], r"splits is \[\], but must be an object"),
    "an unknown dtype": (
        ("features", "moments", "dtype"),
        "float33",
        "features.moments.dtype is 'float33', which is no",
    ),
    "objects": (("features", "moments", "dtype"), "O", "features.moments.dtype is 'O', which is no dtype"),
    "a shard twice": (("splits", "test"), [WRITTEN_SHARD], "splits names a file more than once"),
    "neither moments nor image": (("features", "moments", "path"), ["depth"], "must have either moments or image"),
    "a path within another": (
        ("features", "condition.pose", "path"),
        ["moments", "x"],
        "which another feature's begins",
    ),
    "a shape too few": (("features", "moments", "shapes"), [[8, 8, 8]], "features.moments.shapes has 1 shapes for 2"),
    "an unknown field": (("features", "moments", "unit"), 1, "features.moments.unit is no known field"),
    "no object": ((), None, "holds a JSON list, but must hold an object"),
}


@pytest.mark.parametrize(("place", "value", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_named(tmp_path, place, value, sentence):
    WRITTEN.write(tmp_path)
    path = tmp_path / "lisa_jax.json"
    content = json.loads(path.read_text())
    if place:
        set_in(content, place, value)
    path.write_text(json.dumps(content if place else []))
    with pytest.raises(ValueError, match=rf"lisa_jax\.json.* {sentence}.*restore it, or prepare the data set again\.$"):
        Metadata.read(tmp_path)


def test_what_is_written_is_read_and_a_missing_field_named(tmp_path):
    WRITTEN.write(tmp_path)
    assert Metadata.read(tmp_path) == WRITTEN
    content = json.loads((tmp_path / "lisa_jax.json").read_text())
    del content["base"]
    (tmp_path / "lisa_jax.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"lisa_jax\.json is damaged: base is missing; restore it"):
        Metadata.read(tmp_path)
