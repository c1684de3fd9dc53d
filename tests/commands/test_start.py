import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from lisa_jax.commands._start import BesideBars

ROOT = Path(__file__).parents[2]


def test_what_is_told_stands_on_a_line_of_its_own_beside_a_bar(capsys):
    with tqdm(total=3, file=sys.stderr) as bar:
        BesideBars().emit(logging.makeLogRecord({"msg": "compiling %s ...", "args": ("the sampler",)}))
        bar.update(3)
    assert "compiling the sampler ..." in capsys.readouterr().err.replace("\r", "\n").splitlines()


# What every command does, and `lisa_jax compile` with TPUs that are not there.
WITHOUT_TPU = """
from lisa_jax.commands._start import start_up
start_up()
import jax
print(jax.devices())
from lisa_jax.aot.chips import topology_devices
print(topology_devices("v5e:2x2"))
"""


def test_libtpu_writes_no_errors_where_no_tpu_is():
    pytest.importorskip("libtpu", reason="comes with the tpu extra")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_PLATFORMS", "TPU_"))}
    env["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TPU], env=env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    devices, pod = done.stdout.splitlines()
    assert pod.count("TpuDevice") == 4
    if "CpuDevice" in devices:
        assert done.stderr == ""
