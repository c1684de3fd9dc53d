"""`lisa_jax COMMAND --flag=value ...`, also `python -m lisa_jax COMMAND`: one command a file in `lisa_jax/commands`."""

import pkgutil
import runpy
import sys

from lisa_jax import commands


def command_names() -> list[str]:
    """The commands there are, by the files that hold them."""
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__) if not module.name.startswith("_"))


def main() -> None:
    """Run the command that the first argument names, as if its file had been started with the others."""
    names = command_names()
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked not in names:
        said = f"Unknown command '{asked}'" if asked else "No command"
        sys.exit(f"error: {said}: write lisa_jax COMMAND --help with one of {', '.join(names)}.")
    sys.argv = [f"lisa_jax {asked}", *sys.argv[2:]]
    runpy.run_module(f"{commands.__name__}.{asked}", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main()
