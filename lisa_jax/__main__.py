"""`lisa_jax COMMAND --flag=value ...`, also `python -m lisa_jax COMMAND`: one command a file in `lisa_jax/commands`."""

import ast
import pkgutil
import runpy
import sys
from importlib import metadata
from pathlib import Path

from lisa_jax import commands
from lisa_jax.parallel import stop_signals


def command_names() -> list[str]:
    """The commands there are, by the files that hold them."""
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__) if not module.name.startswith("_"))


def main() -> None:
    """Run the command that the first argument names, as if its file had been started with the others."""
    names = command_names()
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in ("", "help", "-h", "--help"):
        print("\n".join(["lisa_jax COMMAND --help tells the flags of a command:\n", *map(_summary, names)]))
        return
    if asked == "--version":
        print(f"lisa_jax {metadata.version('lisa_jax')}")
        return
    if asked not in names:
        sys.exit(f"error: Unknown command '{asked}': write lisa_jax COMMAND --help with one of {', '.join(names)}.")
    # Before what the command imports.
    stop_signals.catch()
    sys.argv = sys.argv[1:]
    # In the place of this module, whose docstring would else be shown as the command's manual.
    runpy.run_module(f"{commands.__name__}.{asked}", run_name="__main__", alter_sys=True)


def _summary(name: str) -> str:
    """What a command does, in the first line of its file; read, not imported, which would define its flags."""
    (folder,) = commands.__path__
    text = ast.get_docstring(ast.parse((Path(folder) / f"{name}.py").read_text(encoding="utf-8")))
    return f"  {name:<15} {text.partition(chr(10))[0]}"


if __name__ == "__main__":
    main()
