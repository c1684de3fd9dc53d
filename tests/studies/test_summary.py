import dataclasses

import pytest

from lisa_jax.reporting.words import arm_names, lisa_words, setting_name
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.pairs import find_arms, find_pairs
from lisa_jax.studies.speedup import LOSS
from lisa_jax.studies.summary import markdown

PLAIN = Cell("segmentation", 0.0, 1e-3, 0, 8, 300)
LISA = dataclasses.replace(PLAIN, lam=0.2, hooks=("mid",))


def row(cell, losses, fidelity):
    curve = [
        {"step": 100 * (i + 1), LOSS: loss, "fidelity/miou": value}
        for i, (loss, value) in enumerate(zip(losses, fidelity, strict=True))
    ]
    return {"cell": cell, "curve": curve}


def test_speed_ups_in_time_and_operations_where_rows_say_what_a_step_costs():
    plain, lisa = row(PLAIN, [3, 2, 1], [0.1, 0.2, 0.3]), row(LISA, [3, 2, 1], [0.1, 0.3, 0.3])
    plain |= {"seconds_per_step": 0.1, "flops_per_step": 4.0}
    lisa |= {"seconds_per_step": 0.2, "flops_per_step": 5.0}
    both = dataclasses.replace(LISA, hooks=("down_1", "mid"), align_every=4, decoder_width=2.0, decoder_rate=4.0)
    rows = [plain, lisa, row(both, [3, 2, 1], [0.1, 0.2, 0.3])]
    _, arm, other = find_arms(rows, find_pairs(rows))
    assert arm.speedups("fidelity/miou") == [pytest.approx(1.5)]
    assert arm.speedups_in("time", "fidelity/miou") == [pytest.approx(0.75)]
    assert arm.speedups_in("FLOPs", "fidelity/miou") == [pytest.approx(1.2)]
    assert other.speedups_in("FLOPs", "fidelity/miou") == []
    table = markdown(rows)
    assert "| 1.50 | 0.75 | 1.20 |" in table and "| 1.00 |  |  |" in table
    assert "| 0.2, every 4, decoder x2, decoder's rate x4 | down_1+mid |" in table


def test_settings_say_what_is_unusual_and_nothing_else():
    fast = dataclasses.replace(PLAIN, fresh_rate=10.0, fresh_layers="condition_embedding")
    born = dataclasses.replace(PLAIN, condition_init="preserving", learning_rate=3e-5)
    names = [setting_name(cell, (PLAIN, fast, born)) for cell in (PLAIN, fast, born)]
    assert names[0] == "learning rate 0.001"
    assert names[1] == "learning rate 0.001, fresh layers at 10 times the rate, condition embedding alone"
    assert names[2] == "learning rate 3e-05, condition's encoder born preserving"
    assert setting_name(PLAIN, (PLAIN, fast)) == "the recipe" and setting_name(PLAIN, (PLAIN,)) == ""


def test_arms_say_what_sets_them_apart_from_most():
    cells = [PLAIN, LISA, dataclasses.replace(LISA, seed=1), dataclasses.replace(LISA, learning_rate=1e-4)]
    cells += [dataclasses.replace(LISA, hooks=hooks) for hooks in (("down_3",), ("down_1", "mid"))]
    cells += [dataclasses.replace(LISA, lam=1.0, weighting="high_noise"), dataclasses.replace(LISA, lam_stop_step=9)]
    assert [*dict.fromkeys(map(arm_names(cells), cells))] == [
        "plain",
        "LISA",
        "LISA, hook down 3",
        "LISA, hooks down 1 + mid",
        "LISA, λ 1, weighting high noise",
        "LISA, until step 9",
    ]
    assert lisa_words(cells) == "λ 0.2, hook mid" and lisa_words([PLAIN]) == ""


def test_what_was_measured_at_the_end_alone_has_no_speed_up():
    rows = [row(cell, [3, 2, 1], [0.1, 0.2, 0.3]) for cell in (PLAIN, LISA)]
    for point in rows[1]["curve"][:-1]:
        del point["fidelity/miou"]
    _, lisa = find_arms(rows, find_pairs(rows))
    assert lisa.gains("fidelity/miou") == [0.0] and lisa.speedups("fidelity/miou") == []
    assert lisa.speedups(LOSS) == [1.0]


def test_quality_tells_of_how_many_seeds_it_is():
    rows = [row(dataclasses.replace(PLAIN, seed=seed), [3, 2, 1], [0.1, 0.2, 0.3]) for seed in range(3)]
    rows[1]["curve"][-1]["quality/kid_net"] = 0.5
    (arm,) = find_arms(rows, [])
    assert arm.finals("quality/kid_net") == [None, 0.5, None] and arm.finals("quality/other") == []
    table = markdown(rows)
    assert "| kid_net |" in table and "| 0.500 (1 of 3) |" in table


def test_a_task_without_a_measure_of_fidelity_still_has_its_losses():
    rows = [row(cell, [3, 2, 1], [0.1, 0.2, 0.3]) for cell in (PLAIN, LISA)]
    for one in rows:
        one["curve"] = [{name: point[name] for name in ("step", LOSS)} for point in one["curve"]]
    assert "| 0.2 | mid | 1 | 1.0000 |  | +0.0000 |  | 1.00 | 1.00 |" in markdown(rows)


def test_speed_ups_are_paired_by_seed():
    rows = [
        row(PLAIN, [3, 2, 1], [0.1, 0.2, 0.3]),
        row(LISA, [3, 1, 0.5], [0.1, 0.1, 0.2]),
        row(dataclasses.replace(PLAIN, seed=1), [3, 2, 1], [0.1, 0.2, 0.3]),
        row(dataclasses.replace(LISA, seed=2), [3, 2, 1], [0.3, 0.3, 0.3]),
        row(dataclasses.replace(LISA, seed=1), [3, 2, 1], [0.3, 0.3, 0.3]),
    ]
    plain, lisa = find_arms(rows, find_pairs(rows))
    assert plain.speedups(LOSS) == [] and [one["cell"].seed for one in plain.rows] == [0, 1]
    # Seed 2 has no baseline; on seed 0 LISA's fidelity never reaches the baseline's.
    assert [one["cell"].seed for one in lisa.rows] == [0, 1, 2] and lisa.early() == [1.0, 1.0]
    assert lisa.speedups(LOSS) == pytest.approx([1.5, 1.0])
    assert lisa.speedups("fidelity/miou") == [None, pytest.approx(3.0)]
    assert lisa.gains(LOSS) == pytest.approx([-0.5, 0.0])
    table = markdown(rows)
    assert "### segmentation" in table and "| 1.25 ± 0.35 |" in table and "| 3.00 (1 of 2) |" in table
