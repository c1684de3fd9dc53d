import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lisa_jax.studies.json_file import change_json, read_json


def test_changes_of_many_at_once_all_stay(tmp_path):
    path = tmp_path / "folder" / "file.json"

    def add(name):
        def change(content):
            time.sleep(0.01)
            return content | {name: 1}

        change_json(path, change)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, "abcdefgh"))
    assert read_json(path) == dict.fromkeys("abcdefgh", 1)
    # Nothing else that could be taken for a result.
    assert [file.name for file in path.parent.glob("*.json")] == ["file.json"]


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file.json"
    change_json(path, lambda content: {"kept": True})
    with pytest.raises(TypeError):
        change_json(path, lambda content: {"broken": object()})
    assert json.loads(path.read_text()) == {"kept": True}
    change_json(path, lambda content: content | {"more": 2})
    assert read_json(path) == {"kept": True, "more": 2}
    assert read_json(tmp_path / "none.json") == {}
