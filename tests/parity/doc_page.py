"""A page of the documentation as one shell script: its blocks in order, with other settings."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def settings(text):
    """Variables of a page's first block: name -> value."""
    return {name: value.strip('"') for name, value in re.findall(r'^([A-Z_]+)=("[^"]*"|\S+)', text, re.MULTILINE)}


def script_of(page, values, in_python):
    """All blocks of a page, in which the settings have other values; those of `in_python` also in blocks of Python."""
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    (language, header), *rest = blocks
    documented = settings(header)
    assert language == "bash" and documented.keys() == values.keys(), "the page has other settings than this test"
    lines = ["set -euo pipefail", *(f'{name}="{value}"' for name, value in values.items())]
    for language, text in rest:
        if language == "bash":
            lines.append(text)
            continue
        for name in in_python:
            text = text.replace(documented[name], values[name])
        lines += ["python - <<'END_OF_BLOCK'", text + "END_OF_BLOCK"]
    return "\n".join(lines)


def run_page(page, values, in_python, folder, command_env):
    """Run it in a folder; it must succeed."""
    return run_script(script_of(page, values, in_python), folder, command_env)


def run_script(script, folder, command_env):
    """Run a shell script in a folder; it must succeed."""
    env = command_env | {"PATH": f"{Path(sys.executable).parent}:{command_env['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
