"""The code that decides a study's results: what running a cell imports, read off the import statements."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

import lisa_jax

# What runs the cells of a study.
START = "studies/runner.py"


def code_files() -> list[Path]:
    """The source files of this package that a cell's run imports, directly or by way of others, in order of name."""
    root = Path(lisa_jax.__file__).parent
    found: set[Path] = set()
    waiting = [root / START]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file, root)
    return sorted(found)


def code_fingerprint() -> str:
    """Hash of these files: an edit to any of them makes another study."""
    root = Path(lisa_jax.__file__).parent
    digest = hashlib.sha256()
    for file in code_files():
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """Files of this package that a file imports anywhere, in functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == root.name:
            # `from package import name`: the name may be a module itself.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == root.name]
        else:
            continue
        for name in names:
            place = root.joinpath(*name.split(".")[1:])
            yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())
