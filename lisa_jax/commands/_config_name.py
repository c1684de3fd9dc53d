"""What --config names: a file, a config of the package by its name, or the config.json of a run."""

from pathlib import Path

import lisa_jax

_PACKAGED = Path(lisa_jax.__file__).parent / "configs"
_OF_A_RUN = Path(__file__).with_name("_run_config.py")
_FOLDER = "configs/"


def located(named: str) -> str:
    """The file of `--config={named}`, with its argument behind a colon.

    A file that is there is meant as it is written; `sd21_lisa:pose` and `configs/sd21_lisa.py:pose` mean the config
    that is installed, also beside a work directory of that name; `DIR/config.json` the one that a run wrote.

    Raises:
      ValueError: there is no such file, and no config of that name.
    """
    if named.endswith(".json") and Path(named).is_file():
        return f"{_OF_A_RUN}:{named}"
    name, colon, argument = named.partition(":")
    path = Path(name)
    packaged = _PACKAGED / f"{name.removeprefix(_FOLDER).removesuffix('.py')}.py"
    if packaged.is_file() and (path.is_dir() or not path.exists()):
        return f"{packaged}{colon}{argument}"
    # What is there and no file is told by who reads it.
    if path.exists() or path.is_symlink():
        return named
    raise ValueError(
        f"--config={name} is not there: give a Python file with a function get_config, the config.json of a run, or "
        f"one of {', '.join(names())}."
    )


def names() -> list[str]:
    """The names of the configs that are installed, those of studies behind their folder's."""
    texts = {path: path.read_text(encoding="utf-8") for path in _PACKAGED.rglob("*.py")}
    found = [path for path, text in texts.items() if "def get_config(" in text]
    return sorted(path.relative_to(_PACKAGED).with_suffix("").as_posix() for path in found)
