import ast
import logging
import re
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import lisa_jax
from lisa_jax.parallel import compiling
from lisa_jax.parallel.compiling import Announced


@pytest.fixture
def told(caplog):
    """() -> what was told since the last call."""
    caplog.set_level(logging.INFO, "lisa_jax")

    def messages():
        found = list(caplog.messages)
        caplog.clear()
        return found

    return messages


def test_a_program_is_told_once_for_each_tree_shape_dtype_and_static_argument(told):
    def powers(params, rows, *, power):
        return sum(params.values()) * rows**power

    function = Announced(powers, "the toy", position=1, static_argnames="power")
    np.testing.assert_array_equal(function({"a": 2.0}, jnp.arange(3.0), power=2), [0, 2, 8])
    before, after = told()
    assert before == "compiling the toy ..." and re.fullmatch(r"\.\.\. \(\d+ s\)", after)
    function({"a": 3.0}, jnp.ones(3), power=2)
    assert not told()
    for params, count, power in (({"a": 1.0}, 4, 2), ({"a": 1.0, "b": 2.0}, 3, 2), ({"a": 1.0}, 3, 1)):
        function(params, jnp.ones(count), power=power)
        assert len(told()) == 2
    function({"a": 1.0}, jnp.ones(3, jnp.int32), power=2)
    assert len(told()) == 2


def test_what_was_compiled_ahead_is_not_told_again(told):
    function = Announced(lambda scale, rows: scale * rows, "the toy", position=1)
    assert function.compiled(2.0, jnp.ones(3)).cost_analysis()["flops"] == 3
    assert len(told()) == 2
    function(2.0, jnp.ones(3))
    assert not told()


def test_a_compilation_that_fails_is_told_again(told):
    function = Announced(lambda scale, rows: scale * rows, "the toy", position=1)
    for _ in range(2):
        with pytest.raises(TypeError, match="shapes"):
            function(jnp.ones(2), jnp.ones(3))
        assert told() == ["compiling the toy ..."]


def test_a_long_compilation_says_that_the_alarm_of_xla_is_no_error(caplog, told, monkeypatch):
    monkeypatch.setattr(compiling, "_BEFORE_THE_ALARM", 0.01)
    end = time.monotonic() + 30

    def traced_slowly(rows):
        while len(caplog.messages) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return rows

    Announced(traced_slowly, "the toy", position=0)(jnp.ones(3))
    _, still, _ = told()
    assert still == 'still compiling the toy; where XLA asks "Very slow compile?", that is no error.'


def test_programs_of_the_package_are_jitted_by_what_tells_of_it():
    package = Path(lisa_jax.__file__).parent
    jitting = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("jit", "pmap"))
        or (isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & {"jit", "pmap"})
    }
    assert jitting == {"parallel/compiling.py"}
