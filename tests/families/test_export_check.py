"""Whether an exported side network computes what was trained: rounding, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.families import export_check
from lisa_jax.families.export_check import ExportMismatchError, check_export, largest_difference, round_params
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family

FLOAT32, FLOAT16 = jnp.dtype("float32"), jnp.dtype("float16")


def toy_check(params, theirs, dtype=FLOAT32):
    """`check_export` of a network that doubles its only parameter."""

    def ours(params):
        return [2 * np.asarray(params["w"], np.float32)]

    return check_export("FOLDER", params, dtype, ours, None if theirs is None else lambda: ("0.99.1", [theirs]))


def test_rounding_refuses_what_float16_cannot_hold():
    params = {"conv": {"kernel": jnp.array([1.0, 1e-3]), "bias": jnp.array([7e4])}}
    with pytest.raises(ValueError, match=r"conv/bias holds 70000, which float16 cannot: export in float32"):
        round_params(params, jnp.dtype("float16"))
    assert round_params(params, jnp.dtype("float32"))["conv"]["bias"] == 7e4


def test_what_was_not_asked_for_is_not_measured():
    assert toy_check({"w": np.float32([1.0])}, None) == export_check.Measured()


def test_residuals_of_diffusers_are_compared_with_those_of_the_rounded_weights():
    w = np.float32([0.1, 3.0])
    exact, rounded = 2 * w, 2 * w.astype(np.float16).astype(np.float32)
    measured = toy_check({"w": w}, rounded, FLOAT16)
    assert (measured.largest, measured.difference, measured.diffusers_version) == (6.0, 0.0, "0.99.1")
    assert measured.rounding == float(np.abs(exact - rounded).max()) > 0


@pytest.mark.parametrize("wrong", [2e-3, np.nan])
def test_a_residual_that_is_off_or_no_number_is_told(wrong):
    w = np.float32([1.0, 3.0])
    assert toy_check({"w": w}, 2 * w + np.float32([1e-5, 0])).difference == pytest.approx(1e-5, rel=0.1)
    with pytest.raises(
        ExportMismatchError, match=r"^FOLDER: diffusers' residuals differ from ours by up to .* 6.00e-04"
    ):
        toy_check({"w": w}, 2 * w + np.float32([wrong, 0]))


def test_residuals_of_other_shapes_are_told():
    with pytest.raises(ExportMismatchError, match=r"\[\(2,\)\], those of diffusers \[\(3,\)\]"):
        largest_difference([np.zeros(2)], [np.zeros(3)])


@pytest.fixture(scope="module")
def family(tiny_base):
    # Beside a base on pixels the encoder comes down from twice their size.
    return load_family(tiny_base, Setup(("edges",), condition_channels=(4, 8)))


@pytest.fixture(scope="module")
def untrained(family, tmp_path_factory):
    """An untrained side network of the tiny base: its folder and its parameters."""
    side = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0))["edges"]
    folder = tmp_path_factory.mktemp("exported")
    family.write_side(folder, "edges", side)
    return folder, side


def test_rounding_to_float16_is_measured_on_residuals(family, untrained):
    folder, side = untrained
    opened = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), side)
    measured = family.check_export(folder, opened, FLOAT16, (16, 16), verifies=False)
    assert 0 < measured.rounding < 1e-2 * measured.largest
    assert measured.difference is None and measured.in_diffusers


def test_a_network_that_was_not_trained_is_refused(family, untrained):
    with pytest.raises(ExportMismatchError, match="every residual is zero"):
        family.check_export(*untrained, FLOAT32, (16, 16), verifies=True)


def test_a_smaller_network_cannot_be_verified(tiny_base, tmp_path):
    smaller = load_family(tiny_base, Setup(("edges",), condition_channels=(8,), block_out_channels=(4,)))
    side = jax.eval_shape(smaller.model.init_side, smaller.read_start(), jax.random.key(0))["edges"]
    side = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), side)
    smaller.write_side(tmp_path, "edges", side)
    assert smaller.check_export(tmp_path, side, FLOAT32, (16, 16), verifies=False) == export_check.Measured(False)
    with pytest.raises(ValueError, match=r"is smaller than a ControlNet, .* export without --verify"):
        smaller.check_export(tmp_path, side, FLOAT32, (16, 16), verifies=True)


def test_verifying_asks_for_diffusers(monkeypatch):
    monkeypatch.setattr(export_check.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"diffusers and torch cannot be imported: install .* or export without"):
        export_check.require_diffusers()
