"""The program `lisa_jax`: how its commands are started."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_jax.__main__ import command_names, main

ROOT = Path(__file__).parents[1]


def console_program():
    """What pip makes of the package's entry point."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    name, _, target = settings["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    assert name == "lisa_jax"
    # Started without the current directory on its path.
    return ["-P", "-c", f"from {module} import {function}; {function}()", "train"]


PROGRAMS = pytest.mark.parametrize(
    "program",
    [["-m", "lisa_jax", "train"], console_program(), ["-m", "lisa_jax.train"]],
    ids=["module", "console", "as before"],
)


@PROGRAMS
def test_a_command_is_found_however_it_is_started_and_nothing_of_the_current_folder(program, command_env, tmp_path):
    for module in ("ast", "pathlib", "json", "absl", "jax", "cv2"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('A file of the current folder was run.')\n")
    argv = [sys.executable, *program, "--config=sd21_lisa:pose", "--config.lisa.lam=0.5", "--help"]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("Train side networks"), done.stderr
    assert "--workdir:" in done.stdout
    assert "\n  --config.lisa.lam=0.5\n    its weight; 0: plain training\n" in done.stdout


@PROGRAMS
def test_a_command_that_is_asked_to_stop_while_it_is_imported_is_to_be_started_again(program, tmp_path):
    asks = "import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    (tmp_path / "absl").mkdir()
    (tmp_path / "absl" / "__init__.py").write_text(asks)
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, *program], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 75 and "leaving before anything was begun" in done.stderr, done


def test_a_command_that_does_not_exist_is_refused_with_those_that_do(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lisa_jax", "fly"])
    with pytest.raises(SystemExit) as refusal:
        main()
    message = str(refusal.value)
    assert message.startswith("error: Unknown command 'fly': write lisa_jax COMMAND") and "\n" not in message
    assert message.endswith(f"{', '.join(command_names())}.") and {"train", "sample", "export"} <= set(command_names())


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    monkeypatch.setattr(sys, "argv", ["lisa_jax", "--version"])
    main()
    assert capsys.readouterr().out == f"lisa_jax {settings['metadata']['version']}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_tells_what_every_command_does(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lisa_jax", *arguments])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert "  train           Train side networks beside a frozen main network." in lines
    assert len(lines) == 2 + len(command_names())
