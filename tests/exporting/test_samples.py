"""The picture of a model card."""

from lisa_jax.exporting.samples import newest_preview


def test_newest_preview_up_to_a_step(tmp_path):
    assert newest_preview(tmp_path, 8) is None
    (tmp_path / "previews").mkdir()
    for step in (4, 12):
        (tmp_path / "previews" / f"samples_{step:07d}.png").touch()
    assert newest_preview(tmp_path, 11).name == "samples_0000004.png"
