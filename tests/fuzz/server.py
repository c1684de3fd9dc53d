"""A process that has imported the package and forks for every command line: a command then costs no imports.

    python server.py < jobs > outcomes

A job is a line of JSON: `argv` of `lisa_jax`, `cwd`, `stdout` and `stderr` (files); limits: `cpu_seconds` of work,
`idle_seconds` without any, `bytes` of memory; `variables` of the environment that are special; `file_bytes`, how large
files may become, or none; `kill`, a signal and the CPU seconds after which it is sent, or none. The answer is a line:
`returncode` (negative: the signal), `ended` (exit, hang or memory), `cpu` seconds and `peak` bytes. Time is that of the
CPU: the machine may have other work to do.

No backend of JAX is started before the fork; a child starts its own. It ends as Python ends, its threads waited for and
its exit handlers called, but takes no module apart: that would copy most of what it shares with the parent.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

POLL_SECONDS = 0.01
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
# What the package imports late, or its commands alone do.
OTHERS = (
    *("cv2", "grain", "lisa_jax.commands._run", "ml_collections.config_flags", "orbax.checkpoint"),
    *("pyarrow.parquet", "tensorboardX"),
)


def preload() -> None:
    """Import all of the package but its commands, whose flags are defined once a process."""
    import lisa_jax
    from lisa_jax import commands

    for name in OTHERS:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(lisa_jax.__path__, "lisa_jax."):
        if module.module_finder.path not in commands.__path__:
            importlib.import_module(module.name)


def become(job: dict) -> NoReturn:
    """In the child: be the command line of a job."""
    os.setsid()
    for descriptor, (path, mode) in enumerate(
        [(os.devnull, os.O_RDONLY)] + [(job[name], os.O_WRONLY) for name in ("stdout", "stderr")]
    ):
        opened = os.open(path, mode)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(job["cwd"])
    os.environ |= job["variables"]
    if job["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], job["file_bytes"]))
    # As `lisa_jax`, the console script, has it.
    sys.argv = ["lisa_jax", *job["argv"]]
    from lisa_jax.__main__ import main

    status = 0
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def watch(pid: int, job: dict) -> dict:
    """In the parent: wait for a child, within the limits of its job."""
    ended, peak, used, worked, kill = "exit", 0, 0.0, time.monotonic(), job["kill"]
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        peak = max(peak, _resident(pid))
        if (now_used := _cpu_seconds(pid)) > used:
            used, worked = now_used, time.monotonic()
        if kill and used >= kill[1]:
            os.kill(pid, kill[0])
            kill = None
        if used > job["cpu_seconds"] or time.monotonic() - worked > job["idle_seconds"]:
            ended = "hang"
        if peak > job["bytes"]:
            ended = "memory"
        if ended != "exit":
            os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(POLL_SECONDS)
    # What a command has left running.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return {
        "returncode": os.waitstatus_to_exitcode(status),
        "ended": ended,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": max(peak, 1024 * usage.ru_maxrss),
    }


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _cpu_seconds(pid: int) -> float:
    try:
        # Behind the name, which is in parentheses: utime and stime.
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / TICKS
    except (OSError, IndexError):
        return 0.0


def serve() -> None:
    preload()
    # Else the children's collections would write to, and so copy, all that they share with this process.
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(job)
        print(json.dumps(watch(pid, job)), flush=True)


if __name__ == "__main__":
    serve()
