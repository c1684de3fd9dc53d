import pytest

from lisa_jax.files.lines import append_lines
from lisa_jax.files.whole_file import write_whole, write_whole_text


def test_a_file_that_could_not_be_written_leaves_what_was_there_and_nothing_else(tmp_path):
    write_whole_text(tmp_path / "file.txt", "whole\n")

    def fails(partial):
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "file.txt", fails)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole\n"]


def test_half_a_line_that_was_left_is_not_continued(tmp_path):
    append_lines(tmp_path / "file.jsonl", ["é", "b"])
    with (tmp_path / "file.jsonl").open("a") as file:
        file.write("cut sho")
    append_lines(tmp_path / "file.jsonl", ["c"])
    assert (tmp_path / "file.jsonl").read_text() == "é\nb\nc\n"
