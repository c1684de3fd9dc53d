from lisa_jax.files.path_list import split_paths


def test_a_comma_parts_two_paths_unless_it_is_in_the_name_of_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "b,c", " d"):
        (tmp_path / name).mkdir()
    assert split_paths("a,b") == ["a", "b"]
    assert split_paths("a,b,c") == ["a", "b,c"]
    assert split_paths("b,c, a, d,") == ["b,c", "a", " d"]
    assert split_paths("missing, too") == ["missing", "too"]
    assert split_paths("") == []
    assert split_paths(",".join(["x" * 200] * 50)) == ["x" * 200] * 50
