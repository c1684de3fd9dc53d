"""A preparation that is asked for again with something else: what differs is said in words."""

import pytest

from lisa_jax.preparing.settings import NAMED, check_same


def settings(source="a" * 64, spec="folder:pictures", caption="text", **changes):
    named = {"source": {"--source": spec, "--caption_column": caption}, "base": {"--base": "sd21"}}
    return {"source": source, "base": "b" * 64, "test_fraction": 0.02, NAMED: named} | changes


OTHERS = {
    "a flag": ({"test_fraction": 0.1}, r"with test_fraction = 0\.02, but now it is 0\.1: give the same again"),
    "other rows": (
        {"source": "c" * 64, "caption": "caption"},
        r'from other rows \(--caption_column was "text" and is "caption" now\): give the same again, or another',
    ),
    "a branch that moved": (
        {"source": "c" * 64, "spec": "owner/set@" + "d" * 40},
        r'from other rows \(--source was "folder:pictures" and is "owner/set@d{40}" now\)',
    ),
    "changed files": (
        {"source": "c" * 64},
        r"from other rows \(what --source=folder:pictures names has changed since\)",
    ),
    "a changed base": ({"base": "c" * 64}, r"from another base \(what --base=sd21 names has changed since\)"),
    "no base": ({"base": None}, r'with base = "b+", but now it is null'),
}


@pytest.mark.parametrize(("changes", "sentence"), OTHERS.values(), ids=OTHERS)
def test_what_differs_is_said(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=rf"^{tmp_path} was made {sentence}"):
        check_same(settings(), settings(**changes), tmp_path)


def test_the_same_rows_may_lie_elsewhere(tmp_path):
    check_same(settings(), settings(spec="/mnt/pictures"), tmp_path)


def test_settings_of_before_flags_were_noted(tmp_path):
    before = settings()
    del before[NAMED]
    check_same(before, settings(), tmp_path)
    with pytest.raises(ValueError, match=r"from other rows \(what --source names was something else\)"):
        check_same(before, settings("c" * 64), tmp_path)
