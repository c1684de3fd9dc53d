import pytest

from lisa_jax.files.home import cache_folder, expanded


def test_a_tilde_is_the_home_folder_or_itself(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/data") == tmp_path / "data" and cache_folder() == tmp_path / ".cache" / "lisa_jax"
    assert str(expanded("~nobody-is-called-so/data")) == "~nobody-is-called-so/data"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 7)
    with pytest.raises(FileNotFoundError, match=r"no home folder .*: set HOME, or LISA_JAX_DATA"):
        cache_folder()
