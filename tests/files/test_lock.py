"""One process at a time in a folder, and never a lock that outlives its process."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from lisa_jax.files import lock
from lisa_jax.files.lock import Lock, LockedError, alone


def take(path):
    return Lock(path, "training in runs/a", "wait for it, or give another --workdir")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.3)


def left_by(path, **holder):
    """A lock's file as another process has left it."""
    path.write_text(json.dumps({"host": socket.gethostname(), "process": 1, "since": "noon"} | holder) + "\n")


def test_a_second_process_is_told_who_is_there_and_what_to_do(tmp_path):
    who = rf"process {os.getpid()} on {socket.gethostname()}, since 2.*"
    said = rf"Another process is training in runs/a \({who}\): wait for it, or give another --workdir\."
    with take(tmp_path / "runs" / ".lock"), pytest.raises(LockedError, match=said):
        take(tmp_path / "runs" / ".lock")
    assert not list((tmp_path / "runs").iterdir())
    take(tmp_path / "runs" / ".lock").release()


def test_the_lock_of_a_killed_process_holds_up_nobody(tmp_path):
    script = f"import os, signal; from lisa_jax.files.lock import Lock; Lock({str(tmp_path / 'lock')!r}, '', '')"
    killed = subprocess.run([sys.executable, "-c", f"{script}; os.kill(os.getpid(), signal.SIGKILL)"], check=False)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "lock").read_text()
    started = time.monotonic()
    take(tmp_path / "lock").release()
    assert time.monotonic() - started < 1


def test_a_holder_on_another_machine_is_noticed_by_its_signs_of_life(tmp_path, quick):
    left_by(tmp_path / "lock", host="elsewhere", process=7)
    stop = threading.Event()

    def live():
        while not stop.wait(0.01):
            os.utime(tmp_path / "lock")

    other = threading.Thread(target=live)
    other.start()
    try:
        with pytest.raises(LockedError, match="process 7 on elsewhere, since noon"):
            take(tmp_path / "lock")
    finally:
        stop.set()
        other.join()
    # Now that it is dead.
    take(tmp_path / "lock").release()


def test_where_there_is_no_flock_the_file_keeps_others_out(tmp_path, quick, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with take(tmp_path / "lock"), pytest.raises(LockedError, match=f"process {os.getpid()} on "):
        take(tmp_path / "lock")
    left_by(tmp_path / "lock", process=2**22 + 1)
    take(tmp_path / "lock").release()
    with alone(tmp_path / "moment"):
        pass


def test_a_file_that_says_nothing_is_nobodys(tmp_path):
    for content in ("", "{", "[1]"):
        (tmp_path / "lock").write_text(content)
        take(tmp_path / "lock").release()


def test_a_file_that_is_no_text_is_nobodys(tmp_path):
    (tmp_path / "lock").write_bytes(b'{"host": "\xff\xfe')
    take(tmp_path / "lock").release()
