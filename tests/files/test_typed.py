"""JSON values as a dataclass declares them, and what is said of others."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from lisa_jax.files.typed import TypedError, typed


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    sizes: tuple[tuple[int, int], ...]
    share: float = 0.5


@dataclasses.dataclass(frozen=True)
class Whole:
    parts: Mapping[str, Part]
    base: str | None
    anything: Any


PART = {"name": "a", "sizes": [[1, 2], [3, 4]], "share": 1}
WHOLE = {"parts": {"x": PART}, "base": None, "anything": [{}]}


def test_lists_become_tuples_and_objects_dataclasses():
    assert typed(WHOLE, Whole) == Whole({"x": Part("a", ((1, 2), (3, 4)), 1)}, None, [{}])
    assert typed({**WHOLE, "base": "b", "parts": {}}, Whole) == Whole({}, "b", [{}])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sizes": [[1, 2], [3]]}, r"parts\.x\.sizes\[1\] is \[3\], but must be a list of 2"),
        ({"sizes": [[1, True]]}, r"parts\.x\.sizes\[0\]\[1\] is True, but must be a whole number"),
        ({"sizes": [[1, 2.0]]}, r"parts\.x\.sizes\[0\]\[1\] is 2\.0, but must be a whole number"),
        ({"sizes": {}}, r"parts\.x\.sizes is \{\}, but must be a list"),
        ({"name": "b" * 100, "share": "much"}, r"parts\.x\.share is 'much', but must be a number"),
        ({"name": [1] * 1000}, r"parts\.x\.name is \[1, 1, .{0,60}\.\.\., but must be a string"),
        ({"unit": 1}, r"parts\.x\.unit is no known field"),
    ],
)
def test_what_is_of_another_type_is_named_by_its_place(changes, sentence):
    with pytest.raises(TypedError, match=f"^{sentence}$"):
        typed({**WHOLE, "parts": {"x": PART | changes}}, Whole)


def test_what_is_missing_is_named():
    with pytest.raises(TypedError, match=r"^base is missing$"):
        typed({"parts": {}, "anything": 1}, Whole)
    with pytest.raises(TypedError, match=r"^the content is \[\], but must be an object$"):
        typed([], Whole)
