import logging
import os
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from lisa_jax.commands._start import BesideBars

ROOT = Path(__file__).parents[2]


def test_what_is_told_stands_on_a_line_of_its_own_beside_a_bar(capsys):
    with tqdm(total=3, file=sys.stderr) as bar:
        BesideBars().emit(logging.makeLogRecord({"msg": "compiling %s ...", "args": ("the sampler",)}))
        bar.update(3)
    assert "compiling the sampler ..." in capsys.readouterr().err.replace("\r", "\n").splitlines()


def test_nothing_is_written_of_tpus_where_none_is():
    """libtpu, which the suite installs for `lisa_jax compile`, writes lines of errors where JAX asks it."""
    script = "from lisa_jax.commands._start import start_up\nstart_up()\nimport jax\nprint(jax.devices())"
    env = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"} | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "evice(id=0" in done.stdout
    if "CpuDevice" in done.stdout:
        assert done.stderr == ""
