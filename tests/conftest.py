"""A tiny world to train in: data, base, flags and one finished run, each made once per test run."""

import contextlib
import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lisa_jax.configs import openmoji_base

ROOT = Path(__file__).parents[1]
# Compile time dominates at these sizes.
QUICK_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if metadata.version("jaxlib").startswith("0.10."):
    # Without optimisation XLA's older code generator for CPUs takes half of the newer one's time; with it, twice. Later
    # versions have the newer one alone, and end the process at a flag that they do not know.
    QUICK_COMPILE += " --xla_cpu_use_fusion_emitters=false"
# As in commands: looking for cycles at the default rate takes a tenth of the time of tracing.
gc.set_threshold(50_000)
# Before anything starts a backend; commands that the tests start inherit it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", QUICK_COMPILE)
# Who starts the tests in the background of a script has Ctrl-C ignored, and so had all commands that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory):
    """One temporary folder for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_data(shared_tmp):
    """Value for $LISA_JAX_DATA: OpenMoji at 16 px, every twentieth drawing: 74 to train with and 7 to test."""
    from lisa_jax.data.embedded.openmoji import catalogue, load_openmoji

    def build(folder):
        every_twentieth = catalogue.drawings()[::20]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(catalogue, "drawings", lambda: every_twentieth)
            load_openmoji(16, "train", folder)

    return _made_once(shared_tmp / "data", build)


@pytest.fixture(scope="session")
def tiny_figures(shared_tmp):
    """Value for $LISA_JAX_DATA: figures at 16 px, 48 to train with and 8 to test."""
    from lisa_jax.data.embedded.figures import figures_dataset_builder, load_figures

    def build(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(figures_dataset_builder, "COUNTS", {"train": 48, "test": 8})
            load_figures(16, "train", folder)

    return _made_once(shared_tmp / "figures", build)


@pytest.fixture(scope="session")
def tiny_base(shared_tmp, tiny_data):
    """A folder like the embedded base, of one level with 8 channels; hooks down_0, down_1 and mid; random weights."""
    from lisa_jax.data.embedded.openmoji import load_openmoji
    from lisa_jax.families.pixel_base import write_new_base

    def build(folder):
        config = openmoji_base.get_config()
        config.data.image_size = 16
        config.unet.update(block_out_channels=(8,), cross_attention_levels=(True,), heads=(1,), norm_num_groups=4)
        config.text.update(vocab_size=600, max_length=8, width=16, heads=2)
        train = load_openmoji(16, "train", tiny_data)
        write_new_base(folder, config, [train[index]["caption"] for index in range(len(train))])

    return _made_once(shared_tmp / "base", build)


@pytest.fixture(scope="session")
def command_env(shared_tmp, tiny_data):
    """Environment of a command on the tiny data: compiled programs are shared by all tests, TensorFlow ends it."""
    poison = shared_tmp / "poison" / "tensorflow"
    poison.mkdir(parents=True, exist_ok=True)
    (poison / "__init__.py").write_text("raise SystemExit('TensorFlow was imported.')\n")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", poison.parent))),
        "LISA_JAX_DATA": str(tiny_data),
        "JAX_COMPILATION_CACHE_DIR": str(shared_tmp / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


@pytest.fixture(scope="session")
def fake_devices(command_env):
    """count -> further environment of a command that is to see so many CPU devices."""

    def env(count):
        flags = f"{command_env['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
        # Size of XLA's thread pool. A collective holds a thread on every device until all have come; with few threads,
        # devices that wait in different collectives of one step lock each other out.
        return {"XLA_FLAGS": flags, "NPROC": "64"}

    return env


@pytest.fixture(scope="session")
def train_command(tiny_base):
    """(workdir, config field=value...) -> argv of `lisa_jax train` with 8 steps of 8 examples; saves every 2 steps."""

    def argv(workdir, **overrides):
        fields = {
            "base": tiny_base,
            "data.image_size": 16,
            "batch_size": 8,
            "num_steps": 8,
            "condition_channels": "(8,)",
            "lisa.hook": "down_1",
            "sampling.num_steps": 1,
            "preview_count": 2,
            "log_every": 2,
            "save_every": 2,
            "eval_every": 4,
            "diagnostics_every": 4,
            "preview_every": 8,
            "keep": 2,
            "keep_best": "validation/main_loss",
        } | overrides
        flags = [f"--config.{name}={value}" for name, value in fields.items()]
        config = ROOT / "configs" / "openmoji_lineart.py"
        return [sys.executable, "-m", "lisa_jax", "train", f"--config={config}", f"--workdir={workdir}", *flags]

    return argv


@pytest.fixture(scope="session")
def trained_run(shared_tmp, train_command, command_env):
    """The work directory of a finished, undisturbed run of `train_command`, with what it printed in `output.txt`."""

    def build(folder):
        done = subprocess.run(train_command(folder), env=command_env, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        (folder / "output.txt").write_text(done.stdout + done.stderr)

    return _made_once(shared_tmp / "trained_run", build)


@pytest.fixture(scope="session")
def metrics_of():
    """workdir -> lines of metrics.jsonl without their timings."""

    def read(workdir):
        lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
        return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]

    return read


def _made_once(folder, build):
    with _lock(folder.with_suffix(".lock")):
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            build(partial)
            partial.rename(folder)
    return folder


@contextlib.contextmanager
def _lock(path):
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
