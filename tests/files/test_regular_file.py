import os
import socket
from pathlib import Path

import pytest

from lisa_jax.files.regular_file import IrregularFileError, check_regular, read_regular


def test_bytes_of_a_file_of_any_name(tmp_path):
    path = tmp_path / "a[1]*\n?.png"
    path.write_bytes(b"123")
    assert read_regular(path, 3) == b"123"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 3)


def test_more_bytes_than_asked_for_are_refused_also_where_the_size_lies(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    with pytest.raises(IrregularFileError, match="has 4 bytes, but more than 3 are refused"):
        read_regular(path, 3)
    with pytest.raises(IrregularFileError, match="more than 3 bytes"):
        read_regular("/proc/self/status", 3)


def test_what_never_ends_is_not_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (tmp_path / "link").symlink_to("/dev/zero")
        for name, kind in {"pipe": "a named pipe", "socket": "a socket", "link": "a device", ".": "a folder"}.items():
            with pytest.raises(IrregularFileError, match=f"'{Path(name)}' is {kind}, but must be a file"):
                check_regular(Path(name))
