"""The README and the pages beside it: short enough, with the commands in sight, and with links that lead somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors(page):
    """Names of a page's headings, as GitHub makes them."""
    found = []
    for heading in re.findall(r"^#+ +(.+?) *$", _CODE.sub("", page.read_text()), re.MULTILINE):
        # A link's text stays of it, and of all signs hyphens and underscores.
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{name}-{count}" if (count := found.count(name)) else name)
    return found


def links(page):
    """(file, anchor) of each relative link of a page."""
    text = re.sub(r"`[^`\n]*`", "", _CODE.sub("", page.read_text()))
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = unquote(target).partition("#")
            yield (page.parent / file).resolve() if file else page, anchor


def test_the_readme_is_short_and_begins_with_both_commands():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1800
    first = text.splitlines()[:60]
    for command in ("bash launch/quickstart.sh", "bash launch/test.sh"):
        assert any(line.startswith(command) for line in first)
        assert (ROOT / command.split()[1]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_are_there(page):
    lost = [
        (str(file), anchor)
        for file, anchor in links(page)
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file))
    ]
    assert not lost


def test_links_and_headings_are_found():
    assert len(list(links(ROOT / "README.md"))) > 20
    assert "a-controlnet-in-five-commands" in anchors(ROOT / "README.md")
    assert any(anchor for page in PAGES for _, anchor in links(page))
