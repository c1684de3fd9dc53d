"""Flags of every command and fields of every config, with nonsense in the place of their values."""

import random
import re
from pathlib import Path

from ml_collections import ConfigDict
from toys.study_file import study_file

from fuzz.case import Case, Command, Mutation, Right
from fuzz.machine import ROOT
from fuzz.pictures import SIZE
from fuzz.world import World, prepare_command, sample_command, train_command
from lisa_jax.configs import openmoji_base, openmoji_lineart

HUGE = "1000000000000"
NUMBERS = ("nan", "-1", "0", "1e30", HUGE, "", "x", "inf", "-inf", "1e-30", "0x10", "1_0", "True", "None", "-0.5")
NO_NUMBERS = ("nan", "x", "", "inf", "-inf")
WORDS = ("", "x", "nan", "-1", "0", "None", "a/../x", "a\nb", "x" * 5000, "ä猫", "[1]", "%s", "a,b", "=", ",", "x:y")
PLACES = ("", "{file}", "{folder}", "{file}/x", "/dev/null", "/proc/x", "\n", "a" * 300, "~nobody/x", "/dev/full")
SIZES = ("0x0", "16x", "x16", "16x16x16", "1e3", "16*16", "-16", f"{HUGE}x16", "nan", "16.0", "16,16", "0")
SCALES = ("nan", "inf", "a=1", "1,2", "=1", "x", "lineart=1,lineart=2", "", ",", "-1e400", "1=")
PATHS = ("out", "workdir", "base", "source", "listing", "images")

# Numbers that are fine whatever they are: how often, how late, how many.
PATIENT = re.compile(
    "_every|keep|seed|warmup_steps|preview_count|num$|stop_step|decay_steps|chunk_rows|workers|minutes"
)
# How long a run takes, which may be as long as one likes.
ENDLESS = re.compile("num_steps|^steps$|warmup$")
SHARES = re.compile("^(b1|b2|ema_decay|caption_dropout|test_fraction)$")
CHOICES = re.compile(
    "schedule$|weighting|hook|attention|remat|dtype|^name$|condition$|sampler|type$|^weights$|on_error|^task$|quality"
)
DEFINED = re.compile(r'DEFINE_(\w+)\(\s*"(\w+)"(.*?)(?=DEFINE_|^def |\Z)', re.MULTILINE | re.DOTALL)


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A valid command line, and behind it a flag that takes the place of another."""
    inputs.mkdir(parents=True)
    (inputs / "file").write_text("x")
    (inputs / "folder").mkdir()
    return (_field if rng.random() < 0.45 else _flag)(rng, world, inputs)


def _field(rng: random.Random, world: World, inputs: Path) -> Case:
    """A field of a config."""
    pretrains = rng.random() < 0.15
    fields = _leaves((openmoji_base if pretrains else openmoji_lineart).get_config())
    command = _pretrain(inputs / "out") if pretrains else train_command(world.base, inputs / "out")
    name = rng.choice(sorted(fields))
    short = name.rsplit(".", 1)[-1]
    # A number that is unset is told by its name.
    is_number = isinstance(fields[name], (int, float)) or short.endswith(("decay", "every", "steps", "step", "level"))
    value = _number(rng, short) if is_number else rng.choice(WORDS)
    right = _right_number(short, value) if is_number else _right_word(short, value)
    flag = f"--config.{name}={value}"
    named = (short, *([value] if value and not is_number else []))
    return Case.of(Mutation(f"{command[0]} {flag[:60]!r}", right, named), (*command, flag), inputs / "out")


def _flag(rng: random.Random, world: World, inputs: Path) -> Case:
    """A flag of a command."""
    commands = _commands(world, inputs)
    command = rng.choice(list(commands))
    kind, name = rng.choice([(kind, name) for kind, name in defined(command) if name != "config"])
    if kind in ("integer", "float"):
        value = _number(rng, name)
        right = _right_number(name, value)
    elif kind in ("enum", "bool"):
        value, right = rng.choice([*(word for word in WORDS if word not in ("0", "x")), "maybe"]), Right.REFUSED
    elif name.startswith("control_") or name == "image_size":
        value, right = rng.choice(SIZES if name == "image_size" else SCALES), Right.REFUSED
    else:
        value = rng.choice(PLACES + WORDS if name in PATHS else WORDS)
        right = Right.ANY if name == "condition" else _right_word(name, value)
        if value in PLACES:
            value = value.format(file=inputs / "file", folder=inputs / "folder")
    named = (name, *([value, repr(value)[1:-1]] if value else []))
    flag = f"--{name}={value}"
    return Case.of(Mutation(f"{command} {flag[-60:]!r}", right, named), (*commands[command], flag), None)


def defined(command: str) -> list[tuple[str, str]]:
    """Kinds and names of a command's flags, as its file defines them; those with bounds are floats."""
    text = (ROOT / "lisa_jax" / "commands" / f"{command}.py").read_text()
    found = []
    for kind, name, rest in DEFINED.findall(text):
        is_word = any(word in rest for word in ("Text(", "Folder(", "NewFile("))
        checked = "string" if is_word else "float"
        found.append((checked if kind == "checked" else kind, name))
    return found


def _leaves(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    found = {}
    for name, value in config.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else {prefix + name: value}
    return found


def _number(rng: random.Random, name: str) -> str:
    value = rng.choice(NUMBERS)
    return "-1" if ENDLESS.search(name) and value in (HUGE, "1e30", "inf") else value


def _right_number(name: str, value: str) -> Right:
    if name == "minutes" and "inf" in value:
        return Right.ANY
    if value in NO_NUMBERS or (SHARES.search(name) and value in ("-1", "1e30", "-0.5", HUGE)):
        return Right.REFUSED
    # The seed, and the axis of the mesh that takes the other devices.
    below = value in ("-1", "-0.5") and not (name in ("seed", "data") or PATIENT.search(name))
    return Right.REFUSED if below else Right.ANY


def _right_word(name: str, value: str) -> Right:
    return Right.REFUSED if CHOICES.search(name) and value != "None" else Right.ANY


def _pretrain(workdir: Path) -> Command:
    """`pretrain` of one step."""
    values = {"data.image_size": SIZE, "batch_size": 4, "num_steps": 1, "sampling.num_steps": 1, "sampling.count": 2}
    values |= {"unet.block_out_channels": "(8,)", "unet.cross_attention_levels": "(True,)", "unet.heads": "(1,)"}
    values |= {"unet.norm_num_groups": 4, "text.vocab_size": 600, "text.width": 16, "text.heads": 2}
    flags = (f"--config.{name}={value}" for name, value in values.items())
    return ("pretrain", f"--config={ROOT}/configs/openmoji_base.py", f"--workdir={workdir}", *flags)


def _commands(world: World, inputs: Path) -> dict[str, Command]:
    """A valid command line of every command that takes seconds."""
    out, study = f"--out={inputs}/out", inputs / "study.py"
    defaults = {"num_steps": 2, "batch_size": 4, "hook": "mid"}
    grid = {"task": "segmentation", "lam": (0.0, 0.2)}
    study.write_text(study_file(base=str(world.base), defaults=defaults, grid=grid))
    return {
        "prepare": (*prepare_command(world.table), out),
        "sample": (*sample_command(world.base, world.controlnet, world.picture), out),
        "export": ("export", f"--workdir={world.run}", out),
        "evaluate": ("evaluate", f"--workdir={world.run}", "--num=2", f"{out}.json"),
        "report": ("report", str(world.run), f"{out}.html"),
        "new_base": ("new_base", "--preset=tiny_sd15", out),
        "study": ("study", f"--config={study}", out, "--list"),
        "train": train_command(world.base, inputs / "out"),
    }
