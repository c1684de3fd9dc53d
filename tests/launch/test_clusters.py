"""The launchers of clusters, with stand-ins for gcloud, SLURM and kubectl that do on this machine what is asked."""

import os
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STOPPED_EARLY = 75

# Two workers, each a folder; ssh reaches them while the TPU is READY.
GCLOUD = """#!/usr/bin/env bash
set -euo pipefail
echo "$*" >>"$FAKE/calls"
[[ $4 != describe ]] || exec cat "$FAKE/state"
[[ $(cat "$FAKE/state") == READY ]]
output=
for word; do
  case $word in
    --command=*) command=${word#--command=} ;;
    --output-directory=*) output=$PWD/${word#--output-directory=} ;;
  esac
done
for worker in 0 1; do
  cd "$FAKE/worker-$worker"
  if [[ $4 == scp ]]; then
    cp "$5" "${6#*:}"
  elif [[ -n $output ]]; then
    bash -c "$command" >"$output/$worker.log"
  else
    bash -c "$command"
  fi
done
"""

# Makes virtual environments of itself, and trains until it is told to finish or to stop.
PYTHON = """#!/usr/bin/env bash
set -euo pipefail
case "$*" in
  "-m venv"*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    echo "PATH=$(cd "$3/bin" && pwd):\\$PATH" >"$3/bin/activate"
    ;;
  "-m lisa_jax train"*)
    trap 'exit 75' TERM
    echo "training with $LISA_JAX_PROCESSES and $LIBTPU_INIT_ARGS"
    while [[ ! -e $FAKE/finish ]]; do sleep 0.05; done
    exit "$(cat "$FAKE/finish")"
    ;;
esac
"""


@pytest.fixture
def fake(tmp_path):
    """A folder for the stand-ins, first on the path of `environment`."""
    (tmp_path / "bin").mkdir()

    def write(name, text):
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    write("gcloud", GCLOUD)
    write("python-of-the-worker", PYTHON)
    recording = '#!/usr/bin/env bash\necho "$(basename "$0") $*" >>"$FAKE/calls"\ncat >>"$FAKE/input"\n'
    write("kubectl", recording)
    write("sbatch", recording)
    write("scontrol", recording)
    write("srun", recording + 'env | grep -E "LISA_JAX_P|JAX_LOCAL" >>"$FAKE/calls"\nexit "$(cat "$FAKE/status")"\n')
    for worker in range(2):
        (tmp_path / f"worker-{worker}").mkdir()
    (tmp_path / "state").write_text("READY")
    return tmp_path


@pytest.fixture
def environment(fake):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "XLA_", "JAX_"))}
    return inherited | {"FAKE": str(fake), "PATH": f"{fake / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def launch(environment, script, *arguments, **variables):
    done = subprocess.run(
        ["bash", ROOT / "launch" / script, *map(str, arguments)],
        env=environment | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=environment["FAKE"],
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def pod(fake, environment):
    """(action...) -> what tpu_pod.sh does on two workers; nothing that it starts outlives the test."""
    options = ["--tpu=pod", "--zone=z", "--python=python-of-the-worker", "--poll=0.2"]
    yield lambda *arguments: launch(environment, "tpu_pod.sh", *options, *arguments)
    for path in fake.glob("worker-*/lisa_jax_run/pid"):
        subprocess.run(["kill", "-KILL", path.read_text().strip()], capture_output=True, check=False)


@pytest.fixture
def keeping(fake, environment):
    """tpu_pod.sh keep, running."""
    argv = ["bash", ROOT / "launch" / "tpu_pod.sh", "--tpu=pod", "--zone=z", "--python=python-of-the-worker"]
    argv += ["--poll=0.2", "keep", "--", "lisa_jax", "train", "--workdir=a"]
    process = subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=fake
    )
    yield process
    process.kill()
    process.communicate()


def wait_until(condition, process=None):
    for _ in range(600):
        if condition():
            return
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise TimeoutError


def pids(fake):
    return [path.read_text().strip() for path in sorted(fake.glob("worker-*/lisa_jax_run/pid"))]


def both_train(fake):
    """Whether both workers' programs are so far that they can be asked to stop."""
    logs = [path.read_text() for path in fake.glob("worker-*/lisa_jax_run/log")]
    return sum("training with" in log for log in logs) == 2


def test_a_pod_is_set_up_started_watched_and_stopped(pod, fake):
    assert pod("setup")[0] == 0
    assert (fake / "worker-1" / "lisa_jax_run" / "code" / "lisa_jax" / "__main__.py").is_file()
    assert pod("start", "--", "lisa_jax", "train", "--workdir=a b") == (0, "")
    wait_until(lambda: both_train(fake))
    assert pod("status")[1].count(": running") == 2
    code, output = pod("start", "--", "lisa_jax", "train")
    assert code == 1 and "trains already; stop it first" in output

    code, output = pod("logs")
    assert code == 0 and "python -m lisa_jax train --workdir=a b" in output
    assert "training with auto and --xla_tpu_enable" in (fake / "runs" / "pod" / "logs" / "1.log").read_text()
    assert pod("stop")[0] == 0
    wait_until(lambda: pod("status")[1].count(": ended 75 (asked to stop)") == 2)


def test_keep_starts_again_after_preemption_until_the_run_has_ended(pod, fake, keeping):
    wait_until(lambda: len(pids(fake)) == 2, keeping)
    before = pids(fake)
    # Preempted: the machines go away, and new ones come.
    (fake / "state").write_text("PREEMPTED")
    subprocess.run(["kill", "-KILL", *before], check=True)
    for worker in range(2):
        (fake / f"worker-{worker}").rename(fake / f"lost-{worker}")
        (fake / f"worker-{worker}").mkdir()
    time.sleep(0.5)
    (fake / "state").write_text("READY")
    wait_until(lambda: both_train(fake), keeping)
    # Interrupted by a machine that is to go away, which asks its processes to stop.
    again = pids(fake)
    subprocess.run(["kill", "-TERM", *again], check=True)
    wait_until(lambda: len(set(pids(fake)) - set(again)) == 2, keeping)

    (fake / "finish").write_text("0")
    output = keeping.communicate(timeout=30)[0]
    assert keeping.returncode == 0, output
    assert "pod is PREEMPTED; waiting" in output and "the run was interrupted; starting again" in output
    assert output.splitlines()[-1].endswith("the run has ended with status 0; the logs are in runs/pod/logs.")


@pytest.mark.parametrize("status", [1, 75])
def test_keep_ends_with_the_status_of_a_run_that_fails_or_is_stopped(pod, fake, keeping, status):
    wait_until(lambda: both_train(fake), keeping)
    if status == STOPPED_EARLY:
        pod("stop")
    else:
        (fake / "finish").write_text("1")
    output = keeping.communicate(timeout=30)[0]
    assert keeping.returncode == status, output
    assert f"ended with status {status}" in output


COMMAND = ["--", "lisa_jax", "train", "--workdir=a"]


def test_slurm_submits_itself_with_the_options_of_sbatch(fake, environment):
    assert launch(environment, "slurm.sh", "--nodes=2", *COMMAND)[0] == 0
    assert (fake / "calls").read_text() == (
        f"sbatch --nodes=2 --export=ALL,LISA_JAX_LAUNCH={ROOT}/launch {ROOT}/launch/slurm.sh --process_per=gpu "
        "-- lisa_jax train --workdir=a\n"
    )


@pytest.mark.parametrize("status", [0, 1, STOPPED_EARLY])
def test_a_slurm_job_queues_again_only_when_it_stopped_early(fake, environment, status):
    (fake / "status").write_text(str(status))
    code, _ = launch(environment, "slurm.sh", "--process_per=node", *COMMAND, SLURM_JOB_ID="7", SLURM_GPUS_ON_NODE="4")
    calls = (fake / "calls").read_text()
    assert code == status
    assert "LISA_JAX_PROCESSES=auto" in calls and "JAX_LOCAL_DEVICE_IDS=0,1,2,3\n" in calls
    assert ("scontrol requeue 7\n" in calls) == (status == STOPPED_EARLY)


def test_gke_hands_the_manifest_to_kubectl(fake, environment):
    assert launch(environment, "gke.sh", "--image=image", "start", *COMMAND)[0] == 0
    assert (fake / "calls").read_text() == "kubectl apply -f -\n"
    assert "kind: JobSet" in (fake / "input").read_text()
    assert launch(environment, "gke.sh", "start", *COMMAND)[0] == 2
    assert (fake / "calls").read_text().count("\n") == 1
