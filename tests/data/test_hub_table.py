"""Data sets by their names on the hub: the client as it is, in a process of its own, against a server on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys.hub_server import HubServer, commit_of

from lisa_jax.data.rows import Columns
from lisa_jax.data.rows.hub_table import CONVERTED, HubError, HubRows, Part, Table, _chosen, _said
from lisa_jax.data.rows.open import open_rows

# Prints, for each (source, subset, split), the files and captions of its rows, or why there are none.
OPEN = """
import json, sys
from lisa_jax.data.rows import Columns
from lisa_jax.data.rows.open import open_rows
def opened(spec, subset=None, split=None):
    try:
        rows = open_rows(spec, Columns(conditions={}), subset=subset, split=split)
    except ValueError as error:
        return f"refused: {error}"
    return [[str(path) for path in rows._files], [rows[index].caption for index in range(len(rows))]]
print(json.dumps([opened(*each) for each in json.loads(sys.argv[1])]))
"""
CARD = """---
license: mit
configs:
- config_name: small
  data_files:
  - split: train
    path: tables/first-*.parquet
  - split: held_out
    path: [tables/second.parquet]
---
# Some data
"""


def write_files(folder, *paths, card=None):
    """Parquet files with a row each, whose caption is the path."""
    folder.mkdir()
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": [b"no picture"], "caption": [path]}), folder / path)
    if card:
        (folder / "README.md").write_text(card)
    (folder / "script.py").write_text("raise SystemExit('was executed')")
    return folder


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    numbered = [f"data/{split}-0000{i}-of-00002.parquet" for split in ("train", "test") for i in range(2)]
    tables = [f"tables/{name}.parquet" for name in ("first-0", "first-1", "second")]
    said = write_files(root / "said", *tables, card=CARD)
    bare = write_files(root / "bare")
    shards = write_files(root / "shards")
    (shards / "0.tar").write_bytes(b"a shard")
    for folder in (bare, shards):
        (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    subsets = [f"{subset}/{split}/0000.parquet" for subset in ("cats", "dogs") for split in ("train", "validation")]
    return {
        "an-owner/usual": {"main": write_files(root / "usual", *numbered)},
        "an-owner/said": {"main": said},
        "an-owner/script": {"main": bare, CONVERTED: write_files(root / "converted", *subsets)},
        "an-owner/bare": {"main": bare},
        "an-owner/shards": {"main": shards},
    }


def opened(asked, tmp_path, **env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    env = clean | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"} | env
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    argv = [sys.executable, "-c", OPEN, json.dumps(asked)]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_parquet_files_of_one_split_are_fetched_and_nothing_else(datasets, tmp_path):
    asked = [
        ("an-owner/usual",),
        ("an-owner/usual", None, "test"),
        ("an-owner/said",),
        ("an-owner/said", "small", "held_out"),
        ("an-owner/script", "dogs"),
        ("an-owner/script",),
        ("an-owner/script", "birds"),
        ("an-owner/said", None, "test"),
        ("an-owner/bare",),
        ("an-owner/shards",),
        ("an-owner/usul",),
        (f"an-owner/usual@{commit_of('an-owner/usual', 'main')}",),
        ("an-owner/usual@v2",),
    ]
    with HubServer({}, datasets=datasets) as hub:
        found = opened(asked, tmp_path, HF_ENDPOINT=hub.url)
        resolved = [path.partition("/resolve/")[2] for _, path, _ in hub.requests if "/resolve/" in path]
    usual, test, said, held_out, dogs, several, birds, no_split, bare, shards, misspelt, pinned, revision = found
    assert usual[1] == [f"data/train-0000{i}-of-00002.parquet" for i in range(2)]
    assert test[1] == [f"data/test-0000{i}-of-00002.parquet" for i in range(2)]
    assert said[1] == ["tables/first-0.parquet", "tables/first-1.parquet"]
    assert held_out[1] == ["tables/second.parquet"] and dogs[1] == ["dogs/train/0000.parquet"]
    assert pinned == usual
    captions = [caption for rows in (usual, test, said, held_out, dogs) for caption in rows[1]]
    assert {path.partition("/")[2] for path in resolved} == {"README.md", ".gitattributes", *captions}

    assert several.endswith("an-owner/script has several subsets (cats, dogs): choose one by --subset.")
    assert birds.endswith("an-owner/script has no subset 'birds': there are cats, dogs.")
    assert no_split.endswith("an-owner/said has no split 'test': there are held_out, train.")
    assert "an-owner/bare has no Parquet files, nor has the hub made any of it; there: 1 .py: a script is never" in bare
    assert "there: 1 .tar, 1 .py: fetch it by `hf download an-owner/shards --repo-type dataset" in shards
    assert "an-owner/usul is neither a folder here nor a repository" in misspelt
    assert revision.endswith("an-owner/usual is there, but has no revision v2.")

    # The server is gone.
    offline, converted = opened([asked[0], asked[4]], tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert offline == usual and converted == dogs
    Path(usual[0][1]).unlink()
    (broken,) = opened(asked[:1], tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert broken.endswith(f"HF_HUB_OFFLINE is set, and the cache lacks {usual[1][1]}: fetch it once without.")
    # As a cache that something else has filled, and which does not know what the repository has.
    for tree in (tmp_path / "home").rglob("trees/*.json"):
        tree.unlink()
    (unknown,) = opened(asked[:1], tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert "an-owner/usual: 1 of 2 files of train are in the cache: fetch them once while the hub can be" in unknown


def test_subset_and_split_are_of_the_hub(tmp_path):
    folder = write_files(tmp_path / "table", "rows.parquet")
    with pytest.raises(ValueError, match="--subset and --split are of data sets of the hub, but the source is"):
        open_rows(str(folder), split="train")


def test_another_commit_is_another_source_where_the_sizes_are_the_same(tmp_path):
    folder = write_files(tmp_path / "table", "rows.parquet")

    def fingerprint(commit):
        return HubRows(Table(f"an-owner/set@{commit}", folder, ("rows.parquet",)), Columns(conditions={})).fingerprint()

    assert fingerprint("a" * 40) == fingerprint("a" * 40) != fingerprint("b" * 40)


def test_a_first_part_is_taken_by_its_name_alone():
    parts = [Part("default", "partial-train")]
    with pytest.raises(HubError, match="a first part alone: take it by --split=partial-train"):
        _chosen("an-owner/set", parts, None, None)
    assert _chosen("an-owner/set", parts, None, "partial-train") == parts[0]


def test_patterns_of_a_card_are_texts_or_lists_and_stay_within_a_folder(tmp_path):
    tables = ["a.parquet", "b/c.parquet", "b/d/e.parquet"]

    def said(data_files):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files: {json.dumps(data_files)}\n---\n")
        return _said(tmp_path / "README.md", tables).get(Part("default", "train"))

    assert said("*.parquet") == ["a.parquet"]
    assert said(["a.parquet", "b/*"]) == ["a.parquet", "b/c.parquet"]
    assert said([{"split": "train", "path": "b/**"}]) == ["b/c.parquet", "b/d/e.parquet"]
    assert said("b/**/*.parquet") == ["b/c.parquet", "b/d/e.parquet"] and said("**/*.parquet") == tables
