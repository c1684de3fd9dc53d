"""Valid inputs, tiny, each made once, when a case first asks for it: what the cases are mutations of."""

import functools
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from fuzz.case import Command, digest
from fuzz.machine import ROOT, Machine, Surroundings
from fuzz.pictures import SIZE, encoded

TABLE_COLUMNS = "pose=pose_image"
# Grids are no result that cases compare.
QUICK_GRID = "--nowithout_control"


class World:
    """The inputs, and the results of the valid commands on them.

    Attributes:
      folder: where inputs are made.
      machine: runs commands.
      base: folder of a base of pixels.
      run: work directory of a finished training run beside it.
      drawings: the embedded drawings, a folder of TFDS.
    """

    def __init__(self, folder: Path, machine: Machine, *, base: Path, run: Path, drawings: Path):
        self.folder, self.machine = folder, machine
        self.base, self.run, self.drawings = base, run, drawings
        self._valid: dict[str, str | None] = {}

    # ---- inputs

    @functools.cached_property
    def table(self) -> Path:
        """A Parquet table of pictures and masks."""
        from smallest_sd import write_table

        path = self.folder / "table.parquet"
        write_table(path, rows=8)
        return path

    @functools.cached_property
    def prepared(self) -> Path:
        """A prepared data set for `base`, in several shards."""
        return self._made("prepared", prepare_command(self.table, self.base, cache="context"))

    @functools.cached_property
    def controlnet(self) -> Path:
        """The run's side network, exported."""
        return self._made("controlnet", ("export", f"--workdir={self.run}"))

    @functools.cached_property
    def sd(self) -> Path:
        """Folder of a small Stable Diffusion."""
        from smallest_sd import write_smallest_base

        write_smallest_base("tiny_sd21", self.folder / "sd")
        return self.folder / "sd"

    @functools.cached_property
    def sd_controlnet(self) -> Path:
        """A new ControlNet beside it."""
        import jax

        from lisa_jax.families.family import Setup
        from lisa_jax.families.registry import load_family

        family = load_family(str(self.sd), Setup(("pose",), condition_channels=(4, 4, 4, 8)))
        side = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0))
        family.write_side(self.folder / "sd_controlnet", "pose", side["pose"])
        return self.folder / "sd_controlnet"

    @functools.cached_property
    def picture(self) -> Path:
        """A condition of the run's size."""
        path = self.folder / "condition.png"
        path.write_bytes(encoded(0))
        return path

    @functools.cached_property
    def half_prepared(self) -> Path:
        """A folder with what `by_one` to `out` leaves that is killed when some of its chunks are there."""
        folder, command = self.folder / "half", by_one(self.table)
        seconds = 0.0
        while not any(folder.glob("**/*.array_record*")) or (folder / "out" / "lisa_jax.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            # A little later each time; it may begin anew when it is past the end.
            seconds = seconds + 0.02 if seconds < 1 else 0.0
            around = Surroundings(kill=(signal.SIGKILL, seconds))
            self.machine.run((*command, f"--out={folder}/out"), folder, around)
        return folder

    # ---- results

    def valid(self, name: str, *commands: Command) -> str | None:
        """Digest of what valid commands, which are run once, write to `{out}`."""
        if name not in self._valid:
            out = self.folder / "valid" / name
            for command in commands:
                self._run(tuple(word.replace("{out}", str(out)) for word in command))
            self._valid[name] = digest(out)
        return self._valid[name]

    def _made(self, name: str, command: Command) -> Path:
        self._run((*command, f"--out={self.folder / name}"))
        return self.folder / name

    def _run(self, command: Command) -> None:
        done = self.machine.run(command, self.folder)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def copied(source: Path, target: Path) -> Path:
    """A copy to be mutated."""
    copy: Callable = shutil.copytree if source.is_dir() else shutil.copyfile
    target.parent.mkdir(parents=True, exist_ok=True)
    copy(source, target)
    return target


# ---- commands, without what a case adds


def prepare_command(
    source: Path | str, base: Path | None = None, cache: str = "none", size: int = SIZE, columns: str = TABLE_COLUMNS
) -> Command:
    """`prepare` of a source, by default with the columns of the table."""
    flags = [f"--source={source}", f"--cache={cache}", f"--image_size={size}", f"--condition_column={columns}"]
    flags += ["--test_fraction=0.3", "--chunk_rows=3", "--workers=1"]
    return ("prepare", *flags, *([f"--base={base}"] if base else []))


def by_one(source: Path) -> Command:
    """`prepare` with a row a chunk."""
    return (*prepare_command(source), "--chunk_rows=1")


def train_command(base: Path, workdir: Path | str, config: str = "openmoji_lineart.py", **fields: object) -> Command:
    """`train` of one step, on the embedded drawings unless a config has other data."""
    values = {
        "base": base,
        "data.image_size": SIZE,
        "batch_size": 4,
        "num_steps": 1,
        "condition_channels": "(8,)",
        "lisa.hook": "down_1",
        "sampling.num_steps": 1,
        "preview_count": 2,
        "log_every": 1,
    } | fields
    flags = (f"--config.{name}={value}" for name, value in values.items())
    return ("train", f"--config={ROOT}/configs/{config}", f"--workdir={workdir}", *flags)


def sample_command(base: Path, controlnet: Path, condition: Path, size: int = SIZE) -> Command:
    """`sample` of one picture with one step, beside a base."""
    flags = [f"--base={base}", f"--controlnet={controlnet}", "--prompt=a cat", f"--condition={condition}"]
    return (
        "sample",
        *flags,
        f"--image_size={size}",
        "--num_steps=1",
        "--dtype=float32",
        "--guidance_scale=1.5",
        QUICK_GRID,
    )
