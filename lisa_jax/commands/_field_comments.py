"""What the comments of configs/base.py say of a config's fields; the file is read, not imported."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import lisa_jax

_BASE = Path(lisa_jax.__file__).parent / "configs" / "base.py"


def field_comments() -> dict[str, str]:
    """Comments by fields, `{"lisa.lam": "its weight; 0: plain training"}`: those above a field and those behind it."""
    text = _BASE.read_text(encoding="utf-8")
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    comments = _comments(text)
    found = {}
    for function in ("training", "control"):
        for name, node in _fields(functions[function], functions):
            if said := _said(node, comments):
                found[name] = said
    return found


def _fields(function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]) -> Iterator[tuple[str, ast.expr]]:
    """Fields that a function sets, those of groups behind the group's name; the node ends where their value does."""
    for node in ast.walk(function):
        match node:
            # config.optimizer = optimizer(), or config.optimizer.update(own_rates())
            case ast.Assign([ast.Attribute(ast.Name("config"), name)], ast.Call(ast.Name(group), [])) | ast.Call(
                ast.Attribute(ast.Attribute(ast.Name("config"), name), "update"), [ast.Call(ast.Name(group))]
            ) if group in functions:
                yield from ((f"{name}.{field}", value) for field, value in _fields(functions[group], functions))
            case ast.Assign([ast.Attribute(ast.Name("config"), name)], value):
                yield name, value
            case ast.Dict(keys, values):
                yield from zip((key.value for key in keys), values, strict=True)


def _comments(text: str) -> dict[int, tuple[str, bool]]:
    """Comments by their lines, and whether they stand alone there."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {
        token.start[0]: (token.string.lstrip("# "), token.line.lstrip().startswith("#"))
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _said(node: ast.expr, comments: dict[int, tuple[str, bool]]) -> str:
    """What stands above a field's line and behind it."""
    said = [comments[node.end_lineno][0]] if node.end_lineno in comments else []
    line = node.lineno - 1
    while line in comments and comments[line][1]:
        said.insert(0, comments[line][0])
        line -= 1
    return " ".join(said)
