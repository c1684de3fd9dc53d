"""From a command line to flags and a config; errors are one sentence."""

import itertools
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from lisa_jax.commands._config_file import check_made, check_source, what_failed
from lisa_jax.commands._config_name import located
from lisa_jax.commands._help import fields_help, without_help
from lisa_jax.commands._size_flag import take_sizes
from lisa_jax.parallel.messages import one_line


def parse_flags(argv: list[str]) -> list[str]:
    """Parse flags and return the rest; one that is wrong, or a config file, ends the program with a sentence.

    --help ends it with status 0 behind the manual, which lists the fields of --config where that is given.
    """
    words = without_help(argv)
    asked_for_help = len(words) < len(argv)
    if asked_for_help:
        app.usage(shorthelp=True, writeto_stdout=True)
        # Nothing is run, so that nothing is missing.
        for name in flags.FLAGS:
            flags.FLAGS[name].validators.clear()
    named = re.search(r"\0--?config[=\0]([^\0]*)", "\0".join(words))
    try:
        rest = _parsed(words) if named is None else _parsed_with_config(*_with_located(words, named[1]))
    except (flags.Error, ValueError, OSError) as error:
        sys.exit(f"error: {_flag_error(error)}")
    if asked_for_help:
        if named is not None:
            print(fields_help(flags.FLAGS.config))
        sys.exit(0)
    return rest


def _parsed_with_config(argv: list[str], named: str) -> list[str]:
    """Parse flags where one names a config file.

    Raises:
      ValueError: the file is no config, or has no field that a flag names.
    """
    path = Path(named.partition(":")[0])
    check_source(path)
    take_sizes()
    folder = str(_above_package(path.absolute()))
    sys.path.insert(0, folder)
    try:
        arguments = _parsed(argv)
        check_made(path, flags.FLAGS["config"].value)
        return arguments
    except Exception as error:
        if "Flag --config must have a value" in str(error):
            check_made(path, None)
        if (sentence := what_failed(error, named)) is not None:
            raise ValueError(sentence) from error
        # How ml_collections reports a field that the config does not have; it knows which name is near.
        if isinstance(error, AttributeError | KeyError) and error.args:
            reason = error.args[0].args[0] if isinstance(error.args[0], KeyError) else error.args[0]
            raise ValueError(
                f"a --config flag names a field that the config file does not have: {one_line(reason)}"
            ) from error
        raise
    finally:
        sys.path.remove(folder)
        # Conditions of one's own may lie beside the config, but no file there takes the place of an installed one.
        sys.path.append(folder)


def _with_located(argv: list[str], named: str) -> tuple[list[str], str]:
    """The command line with the file that --config means, and that file."""
    if not named:
        raise ValueError("--config is empty: give a Python file with a function get_config.")
    found = located(named)
    written = re.compile(rf"(--?config=)?{re.escape(named)}")
    place = next(index for index, word in enumerate(argv) if written.fullmatch(word))
    return [*argv[:place], argv[place].removesuffix(named) + found, *argv[place + 1 :]], found


def _parsed(argv: list[str]) -> list[str]:
    arguments = flags.FLAGS(argv)
    for name in _twice(argv):
        print(f"--{name} is given more than once: the last one counts.", file=sys.stderr)
    return arguments


def _flag_error(error: Exception) -> str:
    """What absl says of a flag, in our form: `--num=0: must be ...`."""
    if isinstance(error, OSError):
        return one_line(error)
    said = re.sub(r"^flag (--\S*?)=", r"\1=", str(error))
    if missing := re.search(r"Flag (--\w+) must have a value other than None", said):
        return f"give {missing[1]}; --help tells what it is."
    if said.startswith("Unknown command line flag"):
        return f"{said}; --help lists those that there are."
    return one_line(said, 1000)


def _above_package(config_file: Path) -> Path:
    """The folder above the package that a config file is in; above a file in no package, its own folder.

    First on the path of imports while the config is read, so that what it imports beside itself is the neighbour of the
    file that says so, wherever the command is started, and not what has the same name there.
    """
    return next(folder for folder in config_file.parents if not (folder / "__init__.py").is_file())


def _twice(argv: Sequence[str]) -> list[str]:
    """Flags with one value that a command line gives more than once."""
    words = itertools.takewhile(lambda word: word != "--", argv[1:])
    given = Counter(word.lstrip("-").partition("=")[0] for word in words if word.startswith("-"))
    single = {name for name in flags.FLAGS if not isinstance(flags.FLAGS[name], flags.MultiFlag)}
    return [name for name, count in given.items() if count > 1 and name in single]
