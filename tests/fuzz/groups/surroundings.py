"""What is around a command: no place to write to, files that may not grow, variables and config files with nonsense."""

import random
from collections.abc import Callable
from pathlib import Path

from fuzz.case import Case, Command, Right
from fuzz.machine import Surroundings
from fuzz.pictures import SIZE
from fuzz.world import World, prepare_command, sample_command, train_command

Commands = dict[str, Command]


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A valid command line in odd surroundings."""
    inputs.mkdir(parents=True)
    (inputs / "file").write_text("x")
    return rng.choice(KINDS)(rng, world, inputs)


def _commands(world: World, inputs: Path) -> Commands:
    out = f"--out={inputs}/out"
    return {
        "prepare": (*prepare_command(world.table), out),
        "export": ("export", f"--workdir={world.run}", out),
        "sample": (*sample_command(world.base, world.controlnet, world.picture), out),
        "new_base": ("new_base", "--preset=tiny_sd15", out),
        "report": ("report", str(world.run), f"{out}.html"),
        "train": train_command(world.base, inputs / "out"),
    }


def size(rng: random.Random, world: World, inputs: Path) -> Case:
    """Files may not grow beyond so many bytes, as on a disk that is full."""
    name, command = rng.choice(list(_commands(world, inputs).items()))
    # Not less than what is said, which goes to a file, too.
    limit = rng.choice([20_000, 50_000, 200_000])
    around = Surroundings(file_bytes=limit)
    # It may be enough.
    named = ("File too large", "limit", "space", "out")
    return Case(f"{name} with files of {limit} bytes", (command,), Right.ANY, named, surroundings=around)


def place(rng: random.Random, world: World, inputs: Path) -> Case:
    """What is written lies where nothing can."""
    name, command = rng.choice(list(_commands(world, inputs).items()))
    where = rng.choice(["/dev/null", "/dev/null/x", "/proc/x", "/dev/full", f"{inputs}/file", f"{inputs}/file/x/y"])
    flag = "workdir" if name == "train" else "out"
    what = f"{name} to {where.replace(str(inputs), '')}"
    # A page may go to a device.
    right = Right.ANY if name == "report" else Right.REFUSED
    return Case(what, ((*command, f"--{flag}={where}"),), right, (where, flag))


VARIABLES = {
    "HOME": ("", "/nowhere/at/all", "/dev/null", "{inputs}/file", "a\nb"),
    "LISA_JAX_DATA": ("", "/dev/null", "{inputs}/file", "{inputs}/file/x", "/proc/x"),
    "JAX_COMPILATION_CACHE_DIR": ("", "/dev/null", "{inputs}/file/x", "/proc/x"),
    "LISA_JAX_PROCESSES": ("x", "-1", "0", "1", "a,b,c", ":", "x:y:z", "9" * 30, "nan"),
    "LISA_JAX_HEARTBEAT_SECONDS": ("x", "-1", "0", "nan", "1e30", ""),
    "TMPDIR": ("/nowhere", "/dev/null", "{inputs}/file"),
}


def variable(rng: random.Random, world: World, inputs: Path) -> Case:
    """A variable with nonsense."""
    name, command = rng.choice(list(_commands(world, inputs).items()))
    variable = rng.choice(list(VARIABLES))
    value = rng.choice(VARIABLES[variable]).format(inputs=inputs)
    around = Surroundings(variables={variable: value})
    named = (variable, *([value] if value else ["home"]))
    return Case(f"{name} with {variable}={value[-30:]!r}", (command,), Right.ANY, named, surroundings=around)


CONFIGS = {
    "no Python": "x y z",
    "no get_config": "x = 1\n",
    "an import that fails": "import nowhere_at_all\n\n\ndef get_config():\n    return None\n",
    "a number": "def get_config():\n    return 3\n",
    "a dict": "def get_config():\n    return {'base': 3}\n",
    "none": "def get_config():\n    return None\n",
    "empty": "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict()\n",
    "an argument more": "def get_config(argument):\n    return None\n",
    "not UTF-8": b"\xff\xfe",
    "NUL": b"\0" * 8,
    "an error": "def get_config():\n    raise ValueError('nothing')\n",
}


def config(rng: random.Random, world: World, inputs: Path) -> Case:
    """A config file that is none."""
    how = rng.choice([*CONFIGS, "gone", "a folder", "nothing"])
    path = inputs / "mine.py"
    if how in CONFIGS:
        text = CONFIGS[how]
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    elif how == "a folder":
        path.mkdir()
    name = "train" if rng.random() < 0.7 else "study"
    written = ("--workdir" if name == "train" else "--out") + f"={inputs}/out"
    command = (name, f"--config={'' if how == 'nothing' else path}", written)
    return Case(f"{name} with a config that is {how}", (command,), Right.REFUSED, (path.name, "config"))


def arguments(rng: random.Random, world: World, inputs: Path) -> Case:
    """Words that are no flags, and flags that there are not."""
    name, command = rng.choice(list(_commands(world, inputs).items()))
    word = rng.choice(
        ["x", "--nothing=1", "--config.nothing=1", "-", "--", "--out", "--=", "=", "--image_sizes=3", "\n"]
    )
    right = Right.ANY if word == "--" or name == "report" else Right.REFUSED
    return Case(f"{name} {word!r}", ((*command, word),), right, (word.strip("-=").partition("=")[0], word, "flag"))


def size_of_data(rng: random.Random, world: World, inputs: Path) -> Case:
    """A run with pictures of another size than its base was made for."""
    side = rng.choice([1, 2, 7, 15, 17, 24, SIZE * 2])
    command = train_command(world.base, inputs / "out", **{"data.image_size": side})
    return Case(f"train at {side} px", (command,), Right.ANY, ("image_size",))


KINDS: tuple[Callable[[random.Random, World, Path], Case], ...] = (
    *(size, size, place, place, variable, variable, config, config, arguments, arguments, size_of_data),
)
