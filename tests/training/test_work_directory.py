"""Which directories a run takes, and that it is alone there."""

import pytest

from lisa_jax.training.loop import fit
from lisa_jax.training.work_directory import claimed


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b"])
def test_a_name_that_checkpoints_cannot_be_read_from_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"--workdir .* in its name.*give another"), claimed(tmp_path / name):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["~a,b {c} 100% ü日本 d=1;e:'f\".", "x" * 250])
def test_other_names_are_as_good_as_any(toy, tmp_path, name):
    with claimed(tmp_path / name):
        fit(toy.experiment(), toy.config(num_steps=2), tmp_path / name)
    resumed = fit(toy.experiment(), toy.config(num_steps=2), tmp_path / name)
    assert int(resumed.step) == 2


def test_a_second_run_is_refused_until_the_first_one_ends(tmp_path):
    with claimed(tmp_path / "run"):
        said = r"Another process is training in .*run \(process \d+ on .*, since .*\): wait for it, or give another"
        with pytest.raises(ValueError, match=said), claimed(tmp_path / "run"):
            pass
    with claimed(tmp_path / "run"):
        pass


def test_what_is_no_folder_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/run"):
        said = rf"{tmp_path / name} cannot be used .*: give another --workdir"
        with pytest.raises(ValueError, match=said), claimed(tmp_path / name):
            pass


def test_a_home_folder_that_no_shell_has_filled_in_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=rf"~ that the shell has left .*: write {tmp_path}/run\."), claimed("~/run"):
        pass


def test_an_address_is_no_folder():
    said = "--workdir gs:/bucket/run is an address, but must be a folder: mount it"
    with pytest.raises(ValueError, match=said), claimed("gs://bucket/run"):
        pass
