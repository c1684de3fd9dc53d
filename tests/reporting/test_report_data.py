"""What a report gathers and says: pairs, verdicts, tables, and what it refuses."""

import base64
import dataclasses
import importlib.util
import io
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from lisa_jax.media import video_file
from lisa_jax.media.clip import pixels_of
from lisa_jax.media.open_clip import open_clip
from lisa_jax.reporting import pictures
from lisa_jax.reporting.curves import MAX_POINTS, fidelity_chart, noise_chart, training_chart
from lisa_jax.reporting.findings import BETTER, NONE, UNKNOWN, WORSE, findings, in_short, overview, strips
from lisa_jax.reporting.folders import read
from lisa_jax.reporting.names import evaluation_names
from lisa_jax.reporting.page import render
from lisa_jax.reporting.probes import probe_groups
from lisa_jax.reporting.tables import ablation_tables, arms_table, evaluation_table
from lisa_jax.studies.grid import read_cell
from lisa_jax.studies.pairs import find_arms, find_pairs
from lisa_jax.studies.speedup import LOSS

F1 = "fidelity/f1_tolerance_0"


def line(table, first):
    """The row of a table that starts with these labels, as column -> text."""
    row = next(row for row in table.rows if tuple(row[: len(first)]) == first)
    return dict(zip(table.columns, row, strict=True))


@pytest.fixture
def runs_with(small):
    """Final F1 of plain runs and of LISA runs by seed -> rows whose F1 rises linearly from 0 at step 0."""

    def make(plain, lisa, measure="f1_tolerance_0"):
        def run(lam, seed, final):
            cell = read_cell(small.cell(seed=seed, lam=lam, hook="mid" if lam else None))
            curve = [
                {"step": step, LOSS: 1 - final * step / 800, f"fidelity/{measure}": final * step / 800}
                for step in small.STEPS
            ]
            return {"id": f"{lam}_{seed}", "cell": cell, "curve": curve}

        return [run(0.0, seed, final) for seed, final in enumerate(plain)] + [
            run(0.2, seed, final) for seed, final in enumerate(lisa)
        ]

    return make


def test_pairs_share_seed_and_setting(runs_with):
    rows = runs_with([0.8, 0.6], [1.0, 0.5, 0.9])
    pairs = find_pairs(rows)
    assert [(pair.row["id"], pair.plain["id"]) for pair in pairs] == [("0.2_0", "0.0_0"), ("0.2_1", "0.0_1")]
    assert pairs[0].gains[F1] == pytest.approx(0.2) and pairs[1].gains[F1] == pytest.approx(-0.1)
    # 1.0 at step 800 is .8 at step 640; .5 never is .6.
    assert pairs[0].speedups[F1] == pytest.approx(800 / 640) and pairs[1].speedups[F1] is None
    told = overview(rows, pairs)
    assert told.startswith("5 runs (2 plain, 3 with LISA) of 1 task make 2 pairs.") and "1 run has no partner" in told


@pytest.mark.parametrize(
    ("plain", "lisa", "kind"),
    [
        ([0.5, 0.6, 0.7], [0.6, 0.7, 0.81], BETTER),
        ([0.6, 0.7, 0.81], [0.5, 0.6, 0.7], WORSE),
        ([0.5, 0.6, 0.7], [0.6, 0.5, 0.71], NONE),
        ([0.5], [0.9], UNKNOWN),
    ],
)
def test_verdicts_follow_the_spread_in_both_directions(runs_with, plain, lisa, kind):
    rows = runs_with(plain, lisa)
    assert [found.kind for found in findings(rows, find_pairs(rows))] == [kind, kind]


def test_less_of_an_error_is_better(runs_with):
    rows = runs_with([0.5, 0.6, 0.7], [0.6, 0.7, 0.81], measure="depth_rmse")
    fidelity, loss = findings(rows, find_pairs(rows))
    assert (fidelity.kind, loss.kind) == (WORSE, BETTER)


def test_summary_tells_what_was_not_reached(runs_with):
    rows = runs_with([0.8, 0.8, 0.8], [1.0, 0.5, 0.6])
    pairs = find_pairs(rows)
    finding = findings(rows, pairs)[0]
    reached, ended, interval = finding.sentences
    assert reached == (
        "LISA reached plain training's final value in 1 of 3 pairs, there 1.25 times as fast in steps; the median of "
        "all pairs, those that never got there as the slowest, is “not reached”."
    )
    assert ended == "It ended better in 1, worse in 2: \u22120.100 ± 0.265 from plain."
    # Differences .2, -.3 and -.2: mean -.1, standard error .1528, t(2) at .975 = 4.3027.
    assert interval == "95% interval over 3 plain runs: \u22120.757 to +0.557."
    assert in_short({"line art": (pairs, [finding])}) == [
        "At the end of training, fidelity is not different, as far as these runs can show, in line art.",
        "Over all tasks, " + reached.replace("final value", "final fidelity"),
    ]
    (strip,) = strips(rows, pairs)[0].strips
    assert (
        strip.missed == 2
        and strip.text == "1.25 (1 of 3)"
        and [title for _, title in strip.dots] == ["seed 0: 1.25\u00d7"]
    )
    assert 50 < strip.dots[0][0] < 100


@pytest.mark.parametrize("final", [0.5, 0.7, 1.0, 2.0])
def test_ticks_stay_on_the_axis_however_wide_it_is(runs_with, final):
    rows = runs_with([0.5], [final])
    for strip in strips(rows, find_pairs(rows)):
        assert all(0 < place < 100 for place, _ in strip.ticks)
        assert (50.0, "1\u00d7") in strip.ticks


def test_arms_that_share_a_plain_run_count_once(runs_with):
    rows = runs_with([0.5], [0.6])
    rows.append({**rows[1], "cell": dataclasses.replace(rows[1]["cell"], hooks=("down_3",)), "id": "other"})
    finding = findings(rows, find_pairs(rows))[0]
    assert finding.kind == UNKNOWN
    assert "By arm it is from +0.100 (LISA) to +0.100 (LISA, hook down 3)." in finding.sentences


def test_tables_have_every_arm_and_each_choice_with_all_else_equal(small, tmp_path):
    rows = read(small.write_study(tmp_path / "study", small.rows())).rows
    arms = find_arms(rows, find_pairs(rows))
    table = arms_table(arms)
    assert [row[0] for row in table.rows][:2] == ["plain", "LISA"] and table.pale == {0}
    lisa = line(table, ("LISA, λ 1",))
    finals = [row["curve"][-1][F1] for row in rows if row["cell"].lam == 1]
    assert lisa["line F1, no pixel off"] == f"{np.mean(finals):.3f} ± {np.std(finals, ddof=1):.3f}"
    assert lisa["seeds"] == "3" and float(lisa["speed-up, line F1, no pixel off"].split()[0]) > 1
    # A step with LISA takes 1.3 times as long and as many FLOPs.
    in_steps, in_time = (
        float(lisa[name].split()[0]) for name in ("speed-up, line F1, no pixel off", "the same in time")
    )
    assert in_time == pytest.approx(in_steps / 1.3, abs=0.01) and lisa["the same in FLOPs"] == lisa["the same in time"]
    assert line(table, ("plain",))["early speed-up"] == "\u2013"
    by_lam, by_hook, by_schedule = ablation_tables(arms)
    assert [row[0] for row in by_lam.rows] == ["plain training", "0.2", "1"]
    assert [row[0] for row in by_hook.rows] == ["plain training", "down 1 + mid", "down 3"]
    assert [row[0] for row in by_schedule.rows] == ["plain training", "constant", "stops at step 400"]
    assert by_lam.caption == "By λ: hook down 3"


def test_curves_keep_their_style_and_gaps(small):
    rows = [row for row in small.rows(seeds=2) if not isinstance(row["cell"]["hook"], list)]
    rows += [small.row(small.cell(learning_rate=3e-4, lam=1.0, hook="down_3"))]
    rows = small.as_read(rows)
    del rows[0]["curve"][1][F1]
    chart = fidelity_chart(rows, {"real": {F1: 0.9}, "other": {F1: None}})
    first, second = chart["settings"]
    assert (first["label"], second["label"]) == ("learning rate 0.001", "learning rate 0.0003")
    assert first["series"][0]["kind"] == "plain" and first["series"][0]["seeds"][0]["values"][F1][1] is None
    style = {series["label"]: series["style"] for series in first["series"]}
    assert second["series"][0]["style"] == style["LISA, λ 1"] and len(set(style.values())) == 4
    assert first["references"][F1] == [{"label": "real pictures", "value": 0.9}]
    assert chart["measures"][0] == {"key": F1, "label": "line F1, no pixel off"}


def test_quality_stands_beside_fidelity(small, tmp_path):
    study = small.write_study(tmp_path / "study", small.rows())
    small.write_quality(study, small.rows())
    folder = read(study)
    rows, distance = folder.rows, "quality/fd_effnet_lite0"
    chart = fidelity_chart(rows, folder.references["lineart"])
    assert chart["measures"][:2] == [
        {"key": F1, "label": "line F1, no pixel off"},
        {"key": distance, "label": "Fréchet distance (EfficientNet)"},
    ]
    assert chart["settings"][0]["references"][distance] == [
        {"label": "real pictures", "value": 9.0},
        {"label": "without control", "value": 120.0},
    ]
    pairs = find_pairs(rows)
    found = {finding.measure: finding for finding in findings(rows, pairs)}
    assert list(found) == [F1, distance, LOSS] and found[distance].kind == WORSE
    assert "At the end of training, quality is worse with LISA in line art." in in_short(
        {"line art": (pairs, [*found.values()])}
    )
    # Measured at the end alone, it says nothing of how fast that was reached.
    ends = [{**row, "curve": [{**row["curve"][-1]}]} for row in rows]
    (sentences,) = [f.sentences for f in findings(ends, find_pairs(ends)) if f.measure == distance]
    assert sentences[0].startswith("It ended better in 0, worse in 12") and "reached" in " ".join(
        found[distance].sentences
    )
    assert line(arms_table(find_arms(rows, pairs)), ("plain",))["Fréchet distance (EfficientNet)"].startswith("20.00")


def test_noise_levels_use_the_gap_of_the_runs_with_lisa(small):
    rows = small.as_read(row for row in small.rows(seeds=1) if row["cell"]["hook"] in (None, "down_3"))
    chart = noise_chart(rows)
    plain = chart["settings"][0]["series"][0]
    assert plain["seeds"][0]["values"]["explained_q4"][-1] == pytest.approx(
        1 - rows[0]["curve"][-1]["validation/main_loss_q4"] / 0.12, rel=1e-5
    )
    assert noise_chart([{**rows[0], "curve": [{"step": 1, LOSS: 1.0}]}]) is None


def test_long_curves_are_thinned_to_means_and_lose_nothing_at_the_end():
    lines = [{"step": step, "main_loss": float(step % 2)} for step in range(1, 1001)] + [{"step": 1000, LOSS: math.nan}]
    seed = training_chart([("run", 0.0, lines)])["settings"][0]["series"][0]["seeds"][0]
    assert len(seed["steps"]) <= MAX_POINTS and seed["steps"][-1] == 1000
    assert np.mean(seed["values"]["main_loss"]) == pytest.approx(0.5, abs=0.01)
    assert set(seed["values"][LOSS]) <= {None}


def test_probes_are_averaged_over_seeds_by_arm(small, tmp_path):
    small.write_probes(tmp_path, small.rows())
    groups = probe_groups(read(tmp_path).probes)
    assert [group.label for group in groups] == [
        "the condition, step 800",
        "the clean picture, step 800",
        "the gap, explained by decoder and network, step 800",
    ]
    untrained, plain, lisa = groups[0].maps[:3]
    assert untrained.rows[0][1][0].text == "0.05" and plain.arm == "plain (3 seeds)"
    assert lisa.arm == "LISA λ 0.2, hook down 3 (3 seeds)" and lisa.quantiles == ("0.1", "1")
    feature, values = lisa.rows[0]
    assert (feature, values[1].text, values[1].percent) == ("down 1", "0.90", 90)
    assert [row[0] for row in groups[2].maps[1].rows] == ["decoder", "controlled network"]


def test_evaluations_become_tables(small, tmp_path):
    small.write_evaluations(tmp_path)
    folder = read(tmp_path)
    assert list(folder.evaluations) == ["evaluation.json", "quality.json"]
    names = evaluation_names([*folder.evaluations.values()])
    table = evaluation_table(names[0], folder.evaluations["evaluation.json"], "fidelity")
    assert table.rows == [["control", "0.8"], ["real images", "\u2013"]]
    assert table.caption == "Fidelity: line art, step 800"
    table = evaluation_table(names[1], folder.evaluations["quality.json"], "quality")
    assert line(table, ("samples",)) == {
        "pictures": "samples",
        "fd net": "12.5",
        "intervals fd net": "[11, 14]",
        "extractor name": "net<1>",
    }


def test_a_page_escapes_what_folders_say_and_needs_nothing_else(folders):
    page = render([read(folder) for folder in folders])
    for injected in ("</script><b>", "<fast>", "<i>base</i>", "net<1>"):
        assert injected not in page
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in page and "a &lt;fast&gt; one (15 runs)" in page
    assert not re.search(r"""(src|href)=["'](?!data:|\#)""", page)
    assert "ba5e" in page and "--summary" in page
    for text in re.findall(r'<script type="application/json">(.*?)</script>', page, flags=re.DOTALL):
        json.loads(text)
    assert page == render([read(folder) for folder in folders])


def test_pictures_of_openmoji_are_attributed(small, tmp_path):
    identity = {**small.IDENTITY, "protocol": {"data": "openmoji"}}
    own, theirs = (
        render([read(small.write_study(tmp_path / name, small.rows(seeds=1), **named))])
        for name, named in (("own", {}), ("theirs", {"identity": identity}))
    )
    assert "CC BY-SA 4.0" in theirs and "openmoji.org" in theirs and "CC BY-SA" not in own


def test_parts_that_are_missing_are_left_out(small, tmp_path):
    rows = [small.row(small.cell(task="of_mine", lam=0.2, hook="mid"), measure="own_measure")]
    page = render([read(small.write_study(tmp_path / "one", rows))])
    assert "no pair yet" in page and "own measure" in page
    for part in ('class="viewer', 'class="probes"', 'id="others"', "Ceilings and floors", 'class="strips"'):
        assert (part in page) == (part == "Ceilings and floors")


def as_array(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def test_pictures_keep_their_pixels_and_where_there_are_many_nearly_so(tmp_path, monkeypatch):
    # A gradient with some noise, enlarged twice as the grids of studies are.
    noise = np.random.default_rng(0).integers(0, 20, (32, 32, 3))
    sample = (noise + 7 * np.arange(32)[:, None]).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    file = tmp_path / "sample.png"
    Image.fromarray(sample).save(file)
    lossless = pictures.embed([file, file])[file]
    assert np.array_equal(as_array(lossless), sample)
    monkeypatch.setattr(pictures, "LOSSLESS_PIXELS", 10)
    small = pictures.embed([file])[file]
    assert len(small) < 0.8 * len(lossless) and np.abs(as_array(small) - sample).mean() < 8
    monkeypatch.setattr(pictures, "FINE_PIXELS", 10)
    smallest = pictures.embed([file])[file]
    assert len(smallest) < 0.8 * len(small) and np.abs(as_array(smallest) - sample).mean() < 12


def test_pictures_wider_than_screens_are_shrunk_and_others_refused(tmp_path, small):
    small.picture(tmp_path / "wide.png", (200, 100, 50), size=(2000, 100))
    assert as_array(pictures.embed([tmp_path / "wide.png"])[tmp_path / "wide.png"]).shape == (70, 1400, 3)
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"bad\.png: the \d+ bytes are no picture of a known format"):
        pictures.embed([tmp_path / "bad.png"])


@pytest.fixture(scope="module")
def of_clips(small, tmp_path_factory):
    """A study and a training run whose samples are clips, as they are read."""
    return [read(folder) for folder in small.write_clips(tmp_path_factory.mktemp("clips"))]


def viewers_of(page):
    found = re.findall(r'<figure class="viewer.*?<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return [json.loads(spec) for spec in found]


def test_clips_are_videos_on_the_page_and_keep_their_frames_and_time(of_clips, small, tmp_path):
    page = render(of_clips)
    study, training = viewers_of(page)
    run = study["runs"][1]
    assert study["moves"] and [frame["step"] for frame in run["frames"]] == list(small.STEPS)
    shown = [run["frames"][2]["picture"], *study["fixed"].values(), training["runs"][0]["frames"][1]["picture"]]
    assert all(uri.startswith("data:video/webm;base64,") for uri in shown)
    (tmp_path / "sample.webm").write_bytes(base64.b64decode(shown[0].partition(",")[2]))
    with open_clip(tmp_path / "sample.webm", "sample") as opened:
        frames = np.stack([pixels_of(frame, "sample") for frame in opened.frames])
        assert opened.rate == pytest.approx(10)
    expected = np.stack([np.full((64, 64, 3), (180, 10, 30 * number)) for number in range(8)])
    assert frames.shape == expected.shape and np.abs(frames - expected).mean() < 4
    # Condition, both arms and reference on the first screen, with what a page without JavaScript needs to play them.
    assert page.count("muted loop playsinline controls></video>") == 4 and "media-src data:" in page
    assert "Clips play together" in page and "do not move" not in page


@pytest.mark.parametrize("missing", ["Video files need PyAV", "This build of FFmpeg has none of libnone"])
def test_where_no_video_can_be_written_clips_are_stills_and_the_page_says_why(of_clips, missing, monkeypatch):
    if missing == "Video files need PyAV":
        found = importlib.util.find_spec
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "av" else found(name))
    else:
        monkeypatch.setitem(video_file._ENCODERS, "webm", {"libnone": {}})
    page = render(of_clips)
    study, training = viewers_of(page)
    assert "data:video/webm" not in page and f"Clips do not move on this page: {missing}" in page
    np.testing.assert_array_equal(as_array(study["runs"][0]["frames"][3]["picture"])[0, 0], (240, 0, 210))
    # The sheet that lies beside the clip.
    assert as_array(training["runs"][0]["frames"][0]["picture"]).shape == (200, 700, 3)


@pytest.mark.parametrize(
    ("files", "error", "sentence"),
    [
        (None, FileNotFoundError, "is no folder: give the --out of a study or the --workdir of a training run"),
        ({}, ValueError, "holds nothing to report"),
        ({"notes.json": "{}", "config.json": "{}"}, ValueError, "holds nothing to report"),
        ({"evaluation.json": "{"}, ValueError, r"evaluation\.json is not valid JSON"),
        ({"config.json": "{}", "metrics.jsonl": "x\n"}, ValueError, r"metrics\.jsonl line 1 is not valid JSON"),
        ({"results.jsonl": "x\n"}, ValueError, r"results\.jsonl line 1 is not valid JSON"),
        (
            {"results.jsonl": '{"identity": 3}\n'},
            ValueError,
            r"line 1 should say the identity of a study",
        ),
        ({"results.jsonl": '{"identity": {}}\n'}, ValueError, "holds nothing to report"),
        ({"probes.jsonl": "{}\n"}, ValueError, r"probes\.jsonl line 1 is no probed run"),
    ],
)
def test_refuses_in_one_sentence(tmp_path, files, error, sentence):
    folder = tmp_path / "folder"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(error, match=sentence):
        read(folder)


def test_a_run_without_points_is_told(small, tmp_path):
    rows = small.rows(seeds=1)
    rows[0]["curve"] = []
    folder = read(small.write_study(tmp_path / "study", rows))
    assert len(folder.rows) == 4 and "has no points and is left out" in render([folder])


def test_a_study_without_its_pictures_says_so(small, folders, tmp_path):
    folder = read(small.write_study(tmp_path / "study", small.rows(seeds=1)))
    assert "there are no pictures, for it has none in samples/" in render([folder])
    assert not any(read(found).notices for found in folders)
