"""Runs command lines in children of one forking process, each in its own folder, within limits."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import lisa_jax

# Of the package that is tried, which need not be the one beside this file.
ROOT = Path(lisa_jax.__file__).resolve().parents[1]
LIMITS = {"bytes": 4 * 10**9, "cpu_seconds": 60, "idle_seconds": 30}


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What is around a command.

    Attributes:
      variables: of the environment, in place of the machine's.
      file_bytes: how large a file may become, in place of what the system allows.
      kill: a signal, and the CPU seconds after which it is sent.
    """

    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    file_bytes: int | None = None
    kill: tuple[int, float] | None = None


NOTHING_SPECIAL = Surroundings()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a command.

    Attributes:
      returncode: exit status; negative for a signal.
      ended: exit, hang or memory.
      cpu: seconds of CPU time.
      peak: bytes of memory at most.
      stdout: all of it.
      stderr: all of it.
    """

    returncode: int
    ended: str
    cpu: float
    peak: int
    stdout: str
    stderr: str


class Machine:
    """The forking process, and where its children write."""

    def __init__(self, process: subprocess.Popen, home: Path):
        self._process, self._home = process, home

    def run(self, argv: Sequence[str], cwd: Path, surroundings: Surroundings = NOTHING_SPECIAL) -> Outcome:
        """Run `lisa_jax` with `argv` in the folder `cwd`."""
        files = {name: self._home / f"{name}.txt" for name in ("stdout", "stderr")}
        for file in files.values():
            file.write_bytes(b"")
        job = {"argv": list(argv), "cwd": str(cwd), **dataclasses.asdict(surroundings), **LIMITS}
        print(json.dumps(job | {name: str(file) for name, file in files.items()}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return Outcome(**answer, **{name: file.read_text(errors="replace") for name, file in files.items()})


@contextlib.contextmanager
def machine(home: Path, env: Mapping[str, str]) -> Iterator[Machine]:
    """A machine for the time of a `with`; `home` is $HOME of the commands."""
    home.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env, "HOME": str(home)},
    )
    try:
        yield Machine(process, home)
    finally:
        process.stdin.close()
        process.wait()
