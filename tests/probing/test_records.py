"""Lines of probed runs on disk, and the tables that are made of them."""

import json

import pytest

from lisa_jax.probing.records import append_record, read_records
from lisa_jax.probing.table import markdown


def record(lam=0.0, seed=0, r2=0.5, hook=None, **changes):
    """One feature at two noise levels, and the noise level itself."""
    rows = [
        {"feature": "mid", "target": "condition", "quantile": 0.1, "r2": r2, "untrained": 0.125},
        {"feature": "mid", "target": "condition", "quantile": 0.9, "r2": r2 / 2, "untrained": 0.25},
        {"feature": "mid", "target": "noise_level", "quantile": None, "r2": 0.75, "untrained": 1.0},
    ]
    shares = [{"quantile": q, "r2": 0.25 if lam else None, "network_r2": r2} for q in (0.1, 0.9)]
    return {
        "id": f"{lam}_{seed}",
        "lam": lam,
        "hook": hook if lam else None,
        "task": "lineart",
        "step": 800,
        "seed": seed,
        "setting": {"learning_rate": 0.001},
        "alignment": {"lam_decay_steps": None, "weighting": "uniform"} if lam else {},
        "pictures": {"fit": 144, "validation": 48, "test": 96},
        "pixels": 64,
        "rows": rows,
        "decoder": shares,
    } | changes


def test_lines_come_back_and_a_run_that_is_probed_again_counts_once(tmp_path):
    path = tmp_path / "new" / "probes.jsonl"
    for one in (record(), record(seed=1), record(r2=0.75), record(step=900)):
        append_record(path, one)
    assert read_records(path) == [record(r2=0.75), record(seed=1), record(step=900)]


def test_half_a_line_of_a_killed_process_is_left_out_and_not_continued(tmp_path):
    path = tmp_path / "probes.jsonl"
    append_record(path, record())
    with path.open("a") as file:
        file.write('{"id": "half')
    assert read_records(path) == [record()]
    append_record(path, record(seed=1))
    assert read_records(path) == [record(), record(seed=1)]


def test_lines_of_the_bare_contract_are_read(tmp_path):
    bare = {k: v for k, v in record().items() if k not in ("setting", "alignment", "pictures", "pixels")}
    append_record(tmp_path / "probes.jsonl", bare)
    (found,) = read_records(tmp_path / "probes.jsonl")
    assert found == bare | {"setting": {}, "alignment": {}}
    assert "lineart, step 800" in markdown([found])


@pytest.mark.parametrize(
    "line",
    ["no json", "[1]", json.dumps({"id": "a"}), json.dumps(record() | {"rows": None})[:-1]]
    + [json.dumps(record() | wrong) for wrong in ({"task": 5}, {"rows": [3]}, {"step": "a"}, {"decoder": 3})],
)
def test_a_line_that_is_no_probed_run_is_named(tmp_path, line):
    path = tmp_path / "probes.jsonl"
    append_record(path, record())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"probes\.jsonl line 2 .*lisa_jax probe wrote"):
        read_records(path)


def test_plain_and_lisa_stand_side_by_side_with_their_difference():
    table = markdown([record(r2=0.5), record(lam=0.2, hook="down_3", r2=0.75)])
    assert "### lineart, step 800: lam 0.2 at down_3, weighting uniform" in table
    assert "96 test pictures, fitted on 144 others (48 more to choose the penalty)" in table
    assert "| target | feature | noise 0.1 | noise 0.9 | all levels |" in table
    assert "| condition | mid | 0.125 / 0.500 / 0.750 (+0.250) | 0.250 / 0.250 / 0.375 (+0.125) |  |" in table
    assert "| noise_level | mid |  |  | 1.000 / 0.750 / 0.750 (+0.000) |" in table
    assert "| decoder | 0.250 | 0.250 |" in table
    assert "(LISA - plain) | 0.500 / 0.750 (+0.250) |" in table


def test_seeds_are_averaged_and_differences_are_of_pairs():
    plain = [record(seed=0, r2=0.25), record(seed=1, r2=0.5), record(seed=2, r2=0.5)]
    lisa = [record(lam=0.2, hook=["down_3", "mid"], seed=seed, r2=r2) for seed, r2 in ((0, 0.5), (1, 0.75))]
    table = markdown([*plain, *lisa])
    # Both pairs differ by 0.25, the means by 0.208; the spread of the difference is that of the pairs.
    assert "0.125 / 0.417 ± 0.144 / 0.625 ± 0.177 (+0.250 ± 0.000)" in table
    assert "lam 0.2 at down_3 + mid" in table and "plain: seed 0, 1, 2; LISA: seed 0, 1" in table


def test_runs_of_other_settings_are_not_compared_and_every_arm_has_its_table():
    other = record(lam=0.2, hook="mid", setting={"learning_rate": 0.01})
    table = markdown([record(), other])
    assert table.count("###") == 2
    assert "0.125 / 0.500 / - |" in table and "0.125 / - / 0.500 |" in table
    arms = [record(lam=lam, hook=hook) for lam, hook in ((0.2, "mid"), (1.0, "mid"), (0.2, "down_1"))]
    assert markdown([record(), *arms]).count("###") == 3


def test_twins_are_not_averaged():
    with pytest.raises(ValueError, match="'again' are runs of the same setting and seed"):
        markdown([record(), record(id="again")])
