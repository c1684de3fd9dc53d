"""A command that is asked to stop ends soon, with one sentence, whatever it is doing, and says how to go on."""

import signal
import subprocess
import sys

import pytest

from lisa_jax.files.temporary_folder import temporary_folder

# Within one long operation Python runs no handlers.
BUSY = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)"


@pytest.fixture
def start():
    """Code -> a process that has caught its signals and run the code, and now is busy."""
    started = []

    def process(code=""):
        before = "from lisa_jax.parallel import stop_signals; stop_signals.catch()"
        script = f"{before}\n{code}\nprint('ready', flush=True)\n{BUSY}"
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", script], **streams))
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_leaves_within_any_operation_and_says_what_is_kept(start, number):
    name = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}[number]
    for code, sentence in (("", "leaving before anything was begun"), ("stop_signals.end_with('so far')", "so far")):
        process = start(code)
        process.send_signal(number)
        output = process.communicate(timeout=10)[1].strip()
        assert process.returncode == 75 and output.startswith(f"{name}: {sentence}") and "\n" not in output


def test_what_saves_when_asked_is_left_alone_until_a_second_ctrl_c(start):
    process = start("stop_signals.hold_back()")
    for number in (signal.SIGTERM, signal.SIGTERM):
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C: leaving at once" in process.communicate(timeout=10)[1] and process.returncode == 130


def test_a_signal_that_was_ignored_stays_ignored():
    script = "import signal; from lisa_jax.parallel import stop_signals; stop_signals.catch(); signal.raise_signal(2)"
    shell = f'trap "" INT; exec {sys.executable} -c "{script}"'
    assert subprocess.run(["sh", "-c", shell], check=False).returncode == 0


def test_a_child_that_is_told_to_end_does_not_end_its_parent(start):
    fork = "import os, time; child = os.fork() or time.sleep(60); time.sleep(0.2); os.kill(child, 15)"
    process = start(f"{fork}; assert os.waitpid(child, 0)[1] == 15; time.sleep(0.2)")
    assert process.poll() is None


def test_a_temporary_folder_goes_however_a_command_ends(start, tmp_path):
    code = "from pathlib import Path\nfrom lisa_jax.files.temporary_folder import temporary_folder\n"
    code += f"made = temporary_folder('.half-', Path({str(tmp_path)!r}))\nfolder = made.__enter__()\n"
    code += "(folder / 'within').mkdir(); (folder / 'within' / 'file').write_text('half')"
    process = start(code)
    assert [path.name[:6] for path in tmp_path.iterdir()] == [".half-"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 75 and list(tmp_path.iterdir()) == []
    with temporary_folder(".half-", tmp_path) as folder:
        (folder / "file").write_text("half")
    assert list(tmp_path.iterdir()) == []
