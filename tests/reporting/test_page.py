"""The page in a browser: it draws, answers and fits, without a network."""

import os
import re
from pathlib import Path

import pytest
from toys.browser import started_browser

from lisa_jax.reporting.folders import read
from lisa_jax.reporting.page import render

LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_file(folders, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render([read(folder) for folder in folders]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def clips_file(small, tmp_path_factory):
    """A page of clips."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "report.html").write_text(render([read(found) for found in small.write_clips(folder)]), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def open_page(browser, page_file):
    """viewport, whether tasks are unfolded, settings -> the page; fails where the console complained or it fetched."""
    contexts, complaints = [], []

    def open_with(viewport=LAPTOP, unfolded=True, file=page_file, **settings):
        contexts.append(browser.new_context(viewport=viewport, offline=True, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda one: one.url.startswith(("file:", "data:")) or complaints.append(one.url))
        page.goto(file.as_uri())
        if unfolded:
            page.evaluate("document.querySelectorAll('details.part').forEach((one) => { one.open = true; })")
            page.wait_for_selector("figure.chart path.mean")
        return page

    yield open_with
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def keep(page_file):
    """Leave a picture of a page in $LISA_JAX_SCREENSHOTS, or beside the page."""
    folder = Path(os.environ.get("LISA_JAX_SCREENSHOTS") or page_file.parent)

    def write(page, name):
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        assert (folder / f"{name}.png").stat().st_size > 10_000

    return write


def figure(page, title):
    return page.locator("figure", has=page.locator("figcaption", has_text=title))


def shown_colour(image):
    """Red and green of the middle of a picture, or of a clip where it stands, as the browser decodes it."""
    return image.evaluate(
        """async (image) => {
            await image.decode?.();
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth ?? image.videoWidth;
            canvas.height = image.naturalHeight ?? image.videoHeight;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return [...context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 2);
        }"""
    )


def test_first_screen_answers_shows_a_picture_and_folds_the_rest(open_page):
    page = open_page(unfolded=False)
    assert page.locator("h1").inner_text() == "Line art"
    answer = page.locator("header p.short").all_inner_texts()
    assert len(answer) == 2 and "line art" in answer[0] and "times as fast" in answer[1]
    pictures = page.locator("header img")
    assert pictures.count() == 4 and [shown_colour(pictures.nth(i)) for i in (1, 2)] == [[240, 0], [240, 10]]
    assert all(box["y"] + box["height"] <= LAPTOP["height"] for box in (one.bounding_box() for one in pictures.all()))
    assert page.locator("figure.chart").first.is_hidden()
    assert page.evaluate("document.documentElement.scrollHeight") < 2 * LAPTOP["height"]
    page.locator("details.part > summary").first.click()
    page.wait_for_selector("figure.chart path.mean")


def test_slider_leafs_through_the_samples_of_both_arms(open_page, small):
    viewer = figure(open_page(), "Samples on the way")
    slider, label = viewer.get_by_role("slider"), viewer.locator("output")
    pictures = viewer.locator(".run img")
    assert label.inner_text() == "step 800" and pictures.count() == 2
    assert [shown_colour(pictures.nth(i)) for i in range(2)] == [[240, 0], [240, 10]]
    slider.focus()
    slider.press("ArrowLeft")
    assert label.inner_text() == "step 400" and slider.get_attribute("aria-valuetext") == "step 400"
    assert [shown_colour(pictures.nth(i)) for i in range(2)] == [[180, 0], [180, 10]]
    assert pictures.nth(1).get_attribute("alt") == "Samples of LISA, seed 0 at step 400"
    expected = small.rows()[0]["curve"][2]["fidelity/f1_tolerance_0"]
    assert viewer.locator(".run p").first.inner_text() == f"line F1, no pixel off {expected:.3f}"
    # Another run in the second column, at the same step.
    viewer.locator("select").nth(1).select_option(label="LISA, λ 1, seed 1")
    assert label.inner_text() == "step 400" and shown_colour(pictures.nth(1)) == [180, 70]
    assert viewer.get_by_alt_text("condition of the same examples").is_visible()


def test_choices_redraw_a_chart(open_page):
    chart = figure(open_page(), "Fidelity, quality and loss")
    line = chart.locator("path.mean").first
    drawn, label = line.get_attribute("d"), chart.locator(".plot svg").get_attribute("aria-label")
    assert "plain ends at 0.8875 ± 0.004" in label and "against training steps" in label
    assert chart.locator("path.mean").count() == 5 and chart.locator("path.seed").count() == 15
    chart.get_by_label("Measure").select_option(label="validation loss")
    assert line.get_attribute("d") != drawn
    assert "validation loss against" in chart.locator(".plot svg").get_attribute("aria-label")
    chart.get_by_label("Across").select_option(label="seconds of training")
    assert "seconds of training" in chart.locator(".plot").inner_text()
    # The longest curve, LISA's, ends at 800 steps of 13 ms; plain training's at 800 of 10 ms.
    ends = [float(re.findall(r"L([\d.]+) ", path.get_attribute("d"))[-1]) for path in chart.locator("path.mean").all()]
    left = float(chart.locator(".plot line.axis").get_attribute("x1"))
    assert (ends[0] - left) / (ends[1] - left) == pytest.approx(10 / 13, abs=0.002)
    chart.get_by_label("Show").select_option(label="minus plain, same seed")
    assert chart.locator("path.mean").count() == 4
    chart.get_by_role("button", name="LISA, λ 1 (3 seeds)").click()
    assert chart.locator("path.mean").count() == 3


def test_of_many_curves_five_are_drawn_and_the_others_wait(open_page, small, tmp_path):
    runs = [small.row(small.cell())]
    runs += [small.row(small.cell(lam=lam, hook="down_3"), offset=lam / 100) for lam in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    (tmp_path / "report.html").write_text(render([read(small.write_study(tmp_path / "study", runs))]), encoding="utf-8")
    page = open_page(file=tmp_path / "report.html")
    plots = page.locator("figure.chart .plot svg")
    assert plots.count() == 6 and max(plot.locator("path.mean").count() for plot in plots.all()) == 5
    chart = figure(page, "Fidelity, quality and loss")
    legend = chart.locator(".legend")
    assert legend.locator("> button").count() == 5 and legend.locator("button:visible").count() == 5
    legend.get_by_text("2 more curves").click()
    legend.get_by_role("button", name="LISA, λ 0.6").click()
    assert chart.locator("path.mean").count() == 6


def test_keys_and_taps_tell_exact_values(open_page, small):
    page = open_page(PHONE, has_touch=True)
    chart = figure(page, "Fidelity, quality and loss")
    tip, plot = chart.locator(".tip"), chart.locator(".plot svg")
    assert tip.is_hidden()
    plot.focus()
    plot.press("Home")
    first = [run["curve"][0]["fidelity/f1_tolerance_0"] for run in small.rows() if not run["cell"]["lam"]]
    assert tip.locator("p.at").inner_text() == "step 100"
    assert f"plain: {sum(first) / 3:.4g} ± 0.004" in tip.inner_text()
    assert all(f"seed {seed}: {value:.4g}" in tip.inner_text() for seed, value in enumerate(first))
    plot.press("ArrowRight")
    assert tip.locator("p.at").inner_text() == "step 200"
    plot.press("Escape")
    assert tip.is_hidden()
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2)
    assert tip.locator("p.at").inner_text() == "step 800"


def test_values_of_a_chart_as_a_table(open_page):
    chart = figure(open_page(), "Fidelity, quality and loss")
    chart.get_by_text("These values as a table").click()
    last = chart.locator("details tbody tr").last
    # Tables are filled a moment after they are unfolded.
    last.wait_for()
    cells = last.locator("th, td").all_inner_texts()
    assert cells[:2] == ["800", "0.8875 ± 0.004"] and len(cells) == 6


def test_noise_levels_have_a_panel_each_and_tell_the_decoder_apart(open_page, small):
    chart = figure(open_page(), "By noise level")
    assert chart.locator(".plot svg").count() == 4
    label = chart.locator(".plot svg").last.get_attribute("aria-label")
    last = [small.rows(seeds=1)[arm]["curve"][-1] for arm in (0, 1)]
    plain, decoder = (
        1 - last[arm][f"validation/{loss}_q4"] / last[1]["validation/gap_power_q4"]
        for arm, loss in enumerate(("main_loss", "align_loss"))
    )
    assert "most noise" in label
    assert f"plain ends at {plain:.4g}" in label and f"LISA: its decoder ends at {decoder:.4g}" in label


def test_probes_show_one_target_at_a_time(open_page):
    probes = figure(open_page(), "Linear probes")
    assert probes.locator("[data-choice]:visible").count() == 1
    assert "0.05" in probes.locator("table:visible").first.inner_text()
    probes.locator("select").select_option(label="the clean picture, step 800")
    assert probes.locator("[data-choice]:visible").get_attribute("data-choice") == "1"


@pytest.mark.parametrize(("name", "viewport"), [("phone", PHONE), ("laptop", LAPTOP)])
def test_nothing_scrolls_sideways_even_unfolded(open_page, keep, name, viewport):
    page = open_page(viewport)
    keep(page, name)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.locator(".scroll table").count() > 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(open_page, keep, scheme):
    page = open_page(color_scheme=scheme)
    keep(page, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    # Curves and dots need less.
    lines = page.evaluate(
        """() => [...document.querySelectorAll("path.mean")].map((one) => getComputedStyle(one).stroke)"""
    )
    assert len(set(lines)) >= 5
    assert min(page.evaluate(f"({RATIO})", [line, page.evaluate(CARD)]) for line in set(lines)) >= 3


def test_pictures_and_numbers_are_there_without_javascript_too(browser, page_file):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.get_by_text("need JavaScript").is_visible()
    assert page.locator("table").count() > 5
    context.close()


# Waits until all have played for a while.
PLAYED = """async (all) => {
    while (all.some((one) => !(one.currentTime > 0.3))) await new Promise((then) => setTimeout(then, 10));
}"""
TIMES = "(all) => all.map((one) => one.currentTime)"


@pytest.mark.slow
def test_clips_play_together_and_the_controls_of_one_are_those_of_all(open_page, clips_file, keep):
    """`pytest -m slow tests/reporting/test_page.py`: about 10 s, and needs a browser."""
    page = open_page(file=clips_file)
    viewer = figure(page, "Samples on the way")
    for clips in (page.locator("header video"), viewer.locator("video")):
        clips.evaluate_all(PLAYED)
        assert clips.count() == 4 and clips.evaluate_all("(all) => all.every((one) => one.videoWidth === 64)")
        # Around the end too.
        for _ in range(15):
            times = clips.evaluate_all(TIMES)
            apart = max(times) - min(times)
            assert min(apart, 0.8 - apart) < 0.15, times
            page.wait_for_timeout(100)
    keep(page, "clips")
    clips.nth(3).evaluate("(one) => one.pause()")
    page.wait_for_timeout(300)
    times = clips.evaluate_all(TIMES)
    assert max(times) - min(times) < 0.02 and page.locator("header video").evaluate_all(
        "(all) => all.every((one) => !one.paused)"
    )
    # Another step stands where the one before stood.
    viewer.get_by_role("slider").press("ArrowLeft")
    page.wait_for_timeout(300)
    assert clips.evaluate_all("(all) => all.every((one) => one.paused)")
    assert clips.evaluate_all(TIMES) == pytest.approx(times, abs=0.02)
    assert shown_colour(viewer.locator(".run video").nth(1)) == pytest.approx([180, 10], abs=4)
    assert viewer.locator(".run video").nth(1).get_attribute("aria-label") == "Samples of LISA, seed 0 at step 400"
    clips.nth(0).evaluate("(one) => { one.currentTime = 0.55; }")
    page.wait_for_timeout(300)
    assert clips.evaluate_all(TIMES) == pytest.approx([0.55] * 4, abs=0.02)
    clips.nth(1).evaluate("(one) => one.play()")
    page.wait_for_timeout(300)
    assert clips.evaluate_all("(all) => all.every((one) => !one.paused)")
    # Leafing does not stop them.
    viewer.get_by_role("slider").press("ArrowRight")
    page.wait_for_timeout(300)
    assert clips.evaluate_all("(all) => all.every((one) => !one.paused)")


@pytest.mark.slow
def test_clips_stand_where_less_motion_is_wanted(open_page, clips_file):
    page = open_page(file=clips_file, reduced_motion="reduce")
    clips = page.locator("header video")
    page.wait_for_timeout(500)
    assert clips.evaluate_all("(all) => all.every((one) => one.paused && one.videoWidth === 64)")
    assert clips.evaluate_all(TIMES) == [0] * 4
    clips.first.evaluate("(one) => one.play()")
    page.wait_for_timeout(300)
    assert min(clips.evaluate_all(TIMES)) > 0


CARD = """getComputedStyle(document.querySelector("figure")).backgroundColor"""
# Any colour of CSS as numbers, by way of a pixel; WCAG's contrast of two.
RATIO = """([first, second]) => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = (colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [low, high] = [luminance(first), luminance(second)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""
# The least contrast of any text with what is behind it; pairs of colours are measured once.
CONTRAST = f"""() => {{
    const ratio = {RATIO};
    const behind = (node) => {{
        for (; node; node = node.parentElement) {{
            const colour = getComputedStyle(node).backgroundColor;
            if (colour !== "rgba(0, 0, 0, 0)") return colour;
        }}
        return "white";
    }};
    const found = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {{
        const parent = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !parent.getClientRects().length) continue;
        const style = getComputedStyle(parent);
        const colour = parent instanceof SVGElement ? style.fill : style.color;
        found.set(colour + behind(parent), [colour, behind(parent), walker.currentNode.data.trim()]);
    }}
    return [...found.values()].map(([a, b, text]) => ({{ ratio: ratio([a, b]), text, colours: [a, b] }}))
        .sort((a, b) => a.ratio - b.ratio)[0];
}}"""
