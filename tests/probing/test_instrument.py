"""All probes of the toy family, whose features are known mixtures."""

import re

import jax.numpy as jnp
import pytest
from toys import image
from toys.image import side_params
from toys.pictures import pictures_of_all_parts

from lisa_jax.alignment import Alignment
from lisa_jax.probing.features import QUANTILES
from lisa_jax.probing.instrument import Instrument
from lisa_jax.processes import RectifiedFlow


@pytest.fixture(scope="module")
def instrument():
    # An image toy's features are linear in what they are probed for.
    process = RectifiedFlow()
    return Instrument(image.family(frozen=image.LINEAR, process=process), process, pictures_of_all_parts())


def side(**factors):
    return {"edges": side_params(**factors)}


def test_probes_find_what_is_in_a_feature_and_nothing_else(instrument, capsys):
    scores = instrument.scores(side())
    assert re.search(r"probing features: .* 5/5 ", capsys.readouterr().err)
    untrained = instrument.scores(side(condition=0.0))
    for quantile in QUANTILES:
        assert scores["down_0", "condition", quantile] > 0.999
        # Latents and condition are independent: no feature of the one tells of the other.
        assert abs(untrained["down_0", "condition", quantile]) < 0.05
        assert abs(scores["mid", "condition", quantile]) < 0.05
    # x_t = (1 - t) x0 + t noise of variance 1 both: (1 - t)^2 / ((1 - t)^2 + t^2) of x0 is in it, at both sizes.
    for level, quantile in enumerate(QUANTILES):
        t = float(instrument.times[level])
        share = (1 - t) ** 2 / ((1 - t) ** 2 + t**2)
        assert scores["down_0", "clean", quantile] == pytest.approx(share, abs=0.06)
        assert scores["mid", "clean", quantile] == pytest.approx(share, abs=0.06)
    assert scores["down_0", "noise_level", None] > 0.9
    assert scores["mid", "noise_level", None] < 0.3
    assert len(scores) == 2 * (3 * len(QUANTILES) + 1)
    assert instrument.scores(side()) == scores


def test_shares_by_level(instrument, capsys):
    trainable = {"side": side(out=0.0), "decoder": {"down_0": {"edges": {"scale": jnp.zeros((1, 3))}}}}
    shares = instrument.shares(trainable, Alignment(("down_0",)))
    assert re.search(r"probing the gap: .* 5/5 ", capsys.readouterr().err)
    assert [row["quantile"] for row in shares] == list(QUANTILES)
    # Nothing is added and nothing decoded.
    assert all(row["r2"] == pytest.approx(0, abs=1e-6) == row["network_r2"] for row in shares)
    # A residual that has nothing to do with the target makes it worse.
    (plain, *_) = instrument.shares({"side": side(x_t=0.0, out=1.0)}, None)
    assert plain["r2"] is None and plain["network_r2"] < -0.1
