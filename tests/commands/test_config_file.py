"""What a config file imports, wherever it lies and the command is started."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The console program starts without the current directory on its path.
PROGRAMS = {
    "module": ["-m", "lisa_jax"],
    "console": ["-P", "-c", "from lisa_jax.__main__ import main; main()"],
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_config_imports_its_own_package(program, command_env, tmp_path):
    def cells(config, cwd):
        argv = [sys.executable, *PROGRAMS[program], "study", f"--config={config}", "--out=nowhere", "--list"]
        done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    copy = tmp_path / "copy" / "configs"
    shutil.copytree(ROOT / "configs", copy, ignore=shutil.ignore_patterns("__pycache__"))
    # `lisa_jax.configs` is what is installed, wherever the file lies that says so; `configs` is its neighbour.
    for file in copy.rglob("*.py"):
        file.write_text(file.read_text().replace("from lisa_jax.configs", "from configs"))
    fields = copy / "studies" / "base.py"
    fields.write_text(fields.read_text().replace('"num_steps": 300', '"num_steps": 7'))
    # Each is started where the other one's `configs` lies.
    assert cells(ROOT / "configs" / "studies" / "main_figures.py", copy.parent)[0].endswith(" 300 steps")
    assert cells(copy / "studies" / "main_figures.py", ROOT)[0].endswith(" 7 steps")
