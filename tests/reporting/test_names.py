"""Names on a page are a reader's: no folder's, none of the code's, and no two alike."""

import html
import json
import re
from pathlib import Path

import pytest

from lisa_jax.reporting.folders import read
from lisa_jax.reporting.names import run_names, study_names, task_titles, told_apart
from lisa_jax.reporting.page import render

RESULTS = Path(__file__).parents[2] / "docs" / "results"
COMMITTED = sorted(RESULTS.glob("*.html"))
# Headings, sentences and what pictures and tables are called; not what is folded away under code: JSON and commands.
_NAMED = re.compile(
    r"<(h1|h2|h3|h4|summary|caption|figcaption|dt|dd|b|title|option)\b[^>]*>(.*?)</\1>"
    r'|<p class="short">(.*?)</p>|<div class="shown"><p>(.*?)</p>|(?:alt|aria-label)="(.*?)"'
    r'|<th scope="(?:row|col)"[^>]*>(.*?)</th>',
    re.DOTALL,
)


def names_on(page):
    """All texts that name something, those that scripts show among them."""
    for found in _NAMED.finditer(page):
        text = next(group for group in found.groups()[1:] if group is not None)
        yield html.unescape(re.sub(r"<[^>]+>", " ", text)).strip()
    for spec in map(json.loads, re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)):
        yield spec["title"]
        for run in spec.get("runs", ()):
            yield from (run["label"], run["group"])
        yield from spec.get("fixed", ())
        for setting in spec.get("settings", ()):
            yield setting["label"]
            yield from (series["label"] for series in setting["series"])
            yield from (line["label"] for lines in setting["references"].values() for line in lines)
        yield from (measure["label"] for measure in spec.get("measures", ()))


def check_names(page, folders):
    names = [name for name in names_on(page) if name]
    forbidden = [*folders, *(folder.replace("_", " ") for folder in folders)]
    for name in names:
        # The product's own name has one.
        assert "_" not in name.replace("lisa_jax", ""), name
        assert not any(re.search(rf"\b{folder}\b", name) for folder in forbidden), name
    return names


def parts_of(page):
    return re.findall(r'<details class="part">.*?(?=<details class="part">|</main>)', page, re.DOTALL)


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.name)
def test_the_committed_reports_name_no_folder_and_show_samples_before_tables(file):
    page = file.read_text(encoding="utf-8")
    names = check_names(page, [path.name for path in RESULTS.iterdir() if path.is_dir()])
    assert len(names) > 50 and "LISA" in names
    tasks = [part for part in parts_of(page) if 'class="viewer' in part]
    made = [part for part in parts_of(page) if "<summary>How it was made" in part]
    assert tasks and made and len(tasks) + len(made) == len(parts_of(page))
    assert all(part.index('class="viewer') < part.index('class="chart') < part.index("<table") for part in tasks)
    assert parts_of(page)[-len(made) :] == made


def test_a_page_of_everything_names_no_folder(folders):
    page = render([read(folder) for folder in folders])
    names = check_names(page, [folder.name for folder in folders if "_" in folder.name])
    assert {"LISA", "LISA, λ 1", "LISA, hooks down 1 + mid", "LISA: its decoder", "Config: plain"} <= {*names}
    assert any(name.startswith("Training: line art") and "plain, 30 steps; LISA, 30 steps" in name for name in names)
    study, training = parts_of(page)[:2]
    assert study.index('class="viewer') < study.index('class="chart') < study.index("<table")
    assert training.index('class="viewer') < training.index('class="chart')


def test_a_study_is_called_by_its_title_and_else_by_what_it_is_of(small, tmp_path):
    def study(name, **fields):
        title = {"title": fields.pop("title")} if "title" in fields else {}
        identity = small.IDENTITY | {"protocol": {"training": {"data": {"name": "figures_video"}}}}
        folder = small.write_study(tmp_path / name, [small.row(small.cell(**fields))], identity)
        lines = (folder / "results.jsonl").read_text().split("\n", 1)
        (folder / "results.jsonl").write_text(json.dumps(json.loads(lines[0]) | title) + "\n" + lines[1])
        return read(folder)

    titled, other = study("one", title="faster decoders"), study("two", title="main study")
    assert study_names([titled, other]) == ["faster decoders", "main study"]
    assert task_titles([titled, other]) == [
        {"lineart": "line art (faster decoders)"},
        {"lineart": "line art (main study)"},
    ]
    alone, slow, again = study("a_b"), study("c_d", learning_rate=1e-4), study("e_f", learning_rate=1e-4)
    assert study_names([alone]) == ["line art on moving figures"]
    assert task_titles([alone, slow, again]) == [
        {"lineart": "line art (learning rate 0.001)"},
        {"lineart": "line art (learning rate 0.0001, 1 of 2)"},
        {"lineart": "line art (learning rate 0.0001, 2 of 2)"},
    ]
    with pytest.raises(ValueError, match=r"results\.jsonl line 1: title is 3, but must be a text"):
        study("g_h", title=3)


def test_runs_are_called_by_what_their_configs_differ_in():
    def config(lam, **fields):
        return {"seed": 0, "lisa": {"lam": lam}, "optimizer": {"learning_rate": 1e-5}, "base": "bases/sd_21", **fields}

    assert run_names([config(0), config(0.2)]) == ["plain", "LISA"]
    assert run_names([config(0.2), config(1.0), config(0)]) == ["LISA, λ 0.2", "LISA, λ 1", "plain"]
    fast = config(0.0, optimizer={"learning_rate": 1e-4}, log_every=5)
    assert run_names([config(0), fast]) == ["plain, learning rate 1e-05", "plain, learning rate 0.0001"]
    # What says nothing new is left out, and places of files are called by their last part.
    assert run_names([config(0), config(0, base="other/sd_15")]) == ["plain, base sd 21", "plain, base sd 15"]
    assert run_names([config(0), config(0)]) == ["plain, 1 of 2", "plain, 2 of 2"]


def test_the_first_facts_that_tell_apart_are_enough():
    facts = [{"a": "a 1", "b": "b 1", "c": "c 1"}, {"a": "a 1", "b": "b 2", "c": "c 2"}, {"a": "a 1", "b": "b 2"}]
    assert told_apart(["x", "x", "y"], facts) == [["b 1"], ["b 2"], []]
    assert told_apart(["x"] * 3, facts) == [["b 1", "c 1"], ["b 2", "c 2"], ["b 2"]]
