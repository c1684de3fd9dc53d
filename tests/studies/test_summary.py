import dataclasses

import pytest

from lisa_jax.studies.grid import Cell
from lisa_jax.studies.summary import LOSS, markdown, steps_to_reach, summarise

PLAIN = Cell("segmentation", 0.0, 1e-3, 0, 8, 300, None)
LISA = dataclasses.replace(PLAIN, lam=0.2, hook="mid")


def row(cell, losses, fidelity):
    curve = [
        {"step": 100 * (i + 1), LOSS: loss, "fidelity/miou": value}
        for i, (loss, value) in enumerate(zip(losses, fidelity, strict=True))
    ]
    return {"cell": dataclasses.asdict(cell), "curve": curve}


def test_steps_to_reach_interpolates_and_knows_the_direction():
    curve = [{"step": 100, LOSS: 3.0, "f": 0.1}, {"step": 200, LOSS: 1.0}, {"step": 300, LOSS: 2.0, "f": 0.5}]
    assert steps_to_reach(curve, LOSS, 2.0) == 150
    assert steps_to_reach(curve, "f", 0.3) == 200
    assert steps_to_reach(curve, LOSS, 4.0) == 100
    assert steps_to_reach(curve, "f", 0.6) is None


def test_errors_are_reached_from_above():
    curve = [{"step": 100, "fidelity/depth_rmse": 0.5}, {"step": 200, "fidelity/depth_rmse": 0.1}]
    assert steps_to_reach(curve, "fidelity/depth_rmse", 0.3) == 150
    assert steps_to_reach(curve, "fidelity/depth/depth_rmse", 0.05) is None


def test_speed_ups_in_time_and_operations_and_rows_from_before():
    plain, lisa = row(PLAIN, [3, 2, 1], [0.1, 0.2, 0.3]), row(LISA, [3, 2, 1], [0.1, 0.3, 0.3])
    plain |= {"seconds_per_step": 0.1, "flops_per_step": 4.0}
    lisa |= {"seconds_per_step": 0.2, "flops_per_step": 5.0}
    both = dataclasses.replace(LISA, hook="down_1,mid", align_every=4, decoder_width=2.0, decoder_rate=4.0)
    old = {name: value for name, value in dataclasses.asdict(LISA).items() if name not in ("align_every", "weighting")}
    json_row = row(both, [3, 2, 1], [0.1, 0.2, 0.3])
    json_row["cell"]["hook"] = ["down_1", "mid"]
    arms = summarise([plain, {**lisa, "cell": old}, json_row])
    assert arms[1].speedups["fidelity/miou"] == (pytest.approx(1.5),)
    assert arms[1].speedups_in("time", "fidelity/miou") == (pytest.approx(0.75),)
    assert arms[1].speedups_in("FLOPs", "fidelity/miou") == (pytest.approx(1.2),)
    assert arms[2].cheapness["FLOPs"] == (None,)
    table = markdown(arms)
    assert "| 1.50 | 0.75 | 1.20 |" in table and "| 1.00 |  |  |" in table
    assert "| 0.2, every 4, decoder x2, decoder's rate x4 | down_1+mid |" in table


def test_quality_tells_of_how_many_seeds_it_is():
    rows = [row(dataclasses.replace(PLAIN, seed=seed), [3, 2, 1], [0.1, 0.2, 0.3]) for seed in range(3)]
    rows[1]["curve"][-1]["quality/kid_net"] = 0.5
    (arm,) = summarise(rows)
    assert arm.finals["quality/kid_net"] == (None, 0.5, None)
    table = markdown([arm])
    assert "| kid_net |" in table and "| 0.500 (1 of 3) |" in table


def test_speed_ups_are_paired_by_seed():
    rows = [
        row(PLAIN, [3, 2, 1], [0.1, 0.2, 0.3]),
        row(LISA, [3, 1, 0.5], [0.1, 0.1, 0.2]),
        row(dataclasses.replace(PLAIN, seed=1), [3, 2, 1], [0.1, 0.2, 0.3]),
        row(dataclasses.replace(LISA, seed=1), [3, 2, 1], [0.3, 0.3, 0.3]),
        row(dataclasses.replace(LISA, seed=2), [3, 2, 1], [0.3, 0.3, 0.3]),
    ]
    plain, lisa = summarise(rows)
    assert plain.speedups[LOSS] == () and plain.seeds == (0, 1)
    # Seed 2 has no baseline; on seed 0 LISA's fidelity never reaches the baseline's.
    assert lisa.seeds == (0, 1, 2)
    assert lisa.speedups[LOSS] == pytest.approx((1.5, 1.0))
    assert lisa.speedups["fidelity/miou"] == (None, pytest.approx(3.0))
    assert lisa.gains[LOSS] == pytest.approx((-0.5, 0.0))
    table = markdown([plain, lisa])
    assert lisa.early == (1.0, 1.0)
    assert "### segmentation" in table and "| 1.25 ± 0.35 |" in table and "| 3.00 (1 of 2) |" in table
