"""The report's page in a real browser without a network: it loads, moves, opens, sorts and fits."""

import io
import shutil
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from pipeline.evaluation.records import RecordContext, image_records, label_free_thresholds
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL, Panel, load_evaluation, strip_png, write_evaluation
from pipeline.reports.evaluation.explorer import errors_at
from pipeline.reports.evaluation.gallery import KINDS
from pipeline.reports.evaluation.page import build_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
QUIET += ("--disable-sync", "--no-first-run")
OWN, PCA = "proxyano:standardised", "control_pca:standardised"
CLASSES = ("CNV", "DME")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: install it to test the page")


def picture(kind, number, size=(96, 96)):
    """A gray disc, a bright one in heat maps, where and how large tells images apart."""
    image = Image.new("L", size, 0 if kind == "heat" else 60)
    x = 10 + 5 * number % 60
    ImageDraw.Draw(image).ellipse((x, 20, x + 24, 50), fill={"heat": 255, "input": 220}.get(kind, 120))
    if kind == "truth":
        image = image.point(lambda level: 255 if level == 120 else 0).convert("1")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def evaluation(folder, dataset, pictured):
    """A small evaluation as a pipeline leaves it; ``pictured``: with thumbnails and layers."""
    rng = np.random.default_rng(1)
    rows = [(split, 0, "normal") for split in ("val", "holdout", "test") for _ in range(24)]
    rows += [("test", 1, klass) for klass in CLASSES for _ in range(24)]
    scores = pd.DataFrame(rows, columns=["split", "label", "klass"])
    scores.insert(0, "image_id", [f"{i:016x}" for i in range(len(scores))])
    scores["group"] = scores["image_id"]
    for column, gain in {OWN: 1.5, "proxyano:latent": 0.5, PCA: 2.5, "shortcut_bytes:value": 0.2}.items():
        scores[column] = rng.normal(size=len(scores)) + gain * scores["label"]
    kept = [(name, "wide", THUMBNAIL, "", picture("input", i, (64, 64))) for i, name in enumerate(scores["image_id"])]
    for number, kind in enumerate(KINDS):
        for name in scores["image_id"].iloc[60 + 12 * number : 62 + 12 * number]:
            layers = ("input", "proxy", "reconstruction", "heat", "truth")
            for canvas, size in {"wide": (96, 96), "tight": (96, 48)}.items():
                kept += [(name, canvas, layer, kind, picture(layer, number, size)) for layer in layers]
    about = {"dataset": dataset, "title": f"{dataset} images", "preset": "quick", "method": "proxyano", "seed": 0}
    about |= {
        "thresholds": label_free_thresholds(scores),
        "model_card": "# Card\n\n| a | b |\n| --- | --- |\n| 1 | 2 |",
    }
    context = RecordContext(dataset=dataset, preset="quick", seed=0, data_version="ab", resamples=40)
    write_evaluation(
        folder,
        records=image_records(scores, context),
        scores=scores,
        summary=about,
        panels=[Panel(file="worst.png", caption="worst", png=strip_png({"x": np.zeros((9, 9), np.uint8)}, height=64))],
        pictures=pd.DataFrame(kept, columns=list(PICTURE_COLUMNS)) if pictured else None,
    )
    return load_evaluation(folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    lanes = [evaluation(folder / "a", "oct", True), evaluation(folder / "b", "brain_mri", False)]
    build_report(lanes, folder, {"git commit": "abc"})
    return SimpleNamespace(url=(folder / "index.html").as_uri(), scores=lanes[0].scores, about=lanes[0].about)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture
def show(browser, report):
    """Open the page; whatever it complained of fails the test at its end."""
    contexts, complaints = [], []

    def open_page(width=1440, height=900, **more):
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url[:80]))
        page.on("request", lambda request: complaints.append(request.url[:80]) if "http" in request.url[:5] else None)
        page.goto(report.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def counts(page):
    """Wrong images by row of the first data set's table."""
    return [int(text) for text in page.locator(".explorer").first.locator("td.wrong").all_inner_texts()]


def wrong(report, column, threshold):
    return [one.wrong for one in errors_at(report.scores, column, threshold)]


def drawn(page, selector):
    """Scroll to a plot and wait until it is drawn."""
    page.locator(selector).first.scroll_into_view_if_needed()
    page.wait_for_selector(f"{selector} .main-svg")
    return page.locator(selector).first


def test_the_slider_moves_the_numbers_to_those_of_the_evaluation(show, report):
    page = show()
    lane = page.locator(".explorer").first
    start = report.about("thresholds")[OWN]
    assert counts(page) == wrong(report, OWN, start)
    slider = lane.get_by_role("slider")
    slider.focus()
    for key in ("ArrowRight", "PageUp", "Home", "End"):
        page.keyboard.press(key)
        assert counts(page) == wrong(report, OWN, float(slider.input_value()))
    assert float(slider.input_value()) > start
    lane.get_by_role("spinbutton").fill("0.5")
    assert counts(page) == wrong(report, OWN, 0.5)
    assert float(slider.input_value()) == pytest.approx(0.5)
    normal = wrong(report, OWN, 0.5)[2]
    page.wait_for_function(f"document.querySelector('.explorer p[role=status]').textContent.includes('{normal} of 24')")
    lane.get_by_role("button", name="Label-free").click()
    assert counts(page) == wrong(report, OWN, start)
    lane.get_by_role("combobox", name="Score").select_option(label="PCA, standardised")
    assert counts(page) == wrong(report, PCA, report.about("thresholds")[PCA])


def test_line_and_roc_point_follow_the_threshold(show, report):
    page = show()
    drawn(page, ".explorer .dots")
    drawn(page, "#oct-roc .canvas")
    page.locator(".explorer").first.get_by_role("spinbutton").fill("1.25")
    line = page.evaluate("document.querySelector('.dots').layout.shapes.find((one) => one.type === 'line').x0")
    assert line == 1.25
    point = page.evaluate("(({x, y}) => [x[0], y[0]])(document.querySelector('#oct-roc .canvas').data.at(-1))")
    *_, normals, _, _, missed = wrong(report, OWN, 1.25)
    assert point == pytest.approx([normals / 24, 1 - missed / 48])


def test_a_dot_shows_its_image_and_opens_it(show, report):
    page = show()
    dots = drawn(page, ".explorer .dots")
    box = page.evaluate(
        """() => {
          const plot = document.querySelector('.dots');
          const trace = plot.data.findIndex((one) => one.name === 'CNV');
          const place = plot.data[trace].marker.size.indexOf(10);
          const {x, y, customdata} = plot.data[trace];
          const {left, top} = plot.getBoundingClientRect();
          const {xaxis, yaxis} = plot._fullLayout;
          const at = [left + xaxis._offset + xaxis.d2p(x[place]), top + yaxis._offset + yaxis.d2p(y[place])];
          return [...at, customdata[place]];
        }"""
    )
    page.mouse.move(box[0] - 30, box[1])
    page.mouse.move(box[0], box[1])
    card = page.locator(".hover")
    card.wait_for(state="visible")
    assert report.scores["image_id"][box[2]] in card.inner_text()
    assert "data:image" in card.locator(".thumb").evaluate("(one) => getComputedStyle(one).backgroundImage")
    dots.click(position={"x": box[0] - dots.bounding_box()["x"], "y": box[1] - dots.bounding_box()["y"]})
    page.get_by_role("dialog").wait_for(state="visible")
    assert report.scores["image_id"][box[2]] in page.get_by_role("dialog").inner_text()


def test_the_gallery_works_by_keyboard_and_gives_the_focus_back(show):
    page = show()
    card = page.locator(".card-of").nth(2)
    card.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert "3 of 10" in dialog.inner_text()
    title = dialog.get_by_role("heading").inner_text()
    page.keyboard.press("ArrowRight")
    assert "4 of 10" in dialog.inner_text()
    page.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == title
    outside = "document.activeElement !== document.body && !document.activeElement.closest('dialog')"
    for _ in range(14):  # the body stands for the browser's own controls, between the dialog's last and first
        page.keyboard.press("Tab")
        assert not page.evaluate(outside)
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert card.evaluate("(one) => one === document.activeElement")


def test_blending_and_truth_change_what_is_seen(show):
    page = show(reduced_motion="reduce")
    page.locator(".card-of").first.click()
    stage, blend = page.locator(".stage"), page.get_by_label("Blend")
    seen = []
    for value, said in (("0", "input"), ("2", "reconstruction"), ("2.5", "50 % heat map"), ("3", "heat map")):
        blend.fill(value)
        assert said in blend.get_attribute("aria-valuetext")
        assert said in stage.get_attribute("aria-label")
        seen.append(stage.screenshot())
    assert stage.locator(".heat").evaluate("(one) => one.style.opacity") == "1"
    page.get_by_role("button", name="Input", exact=True).click()
    assert stage.screenshot() == seen[0]
    for box in ("True lesions outlined", "Heat map over the picture"):
        page.get_by_label(box).check()
        seen.append(stage.screenshot())
    assert len(set(seen)) == len(seen)
    wide = stage.bounding_box()
    page.get_by_label("Canvas").select_option(label="tight")
    assert stage.bounding_box()["height"] == pytest.approx(wide["height"] / 2, rel=0.35)


def test_the_list_of_images_sorts_filters_and_opens(show, report):
    page = show()
    box = page.locator("details.images").first
    box.locator("summary").press("Enter")
    first = box.locator("tbody tr").first
    best = report.scores.loc[report.scores[OWN].idxmax(), "image_id"]
    assert best in first.inner_text()
    assert box.locator("tbody tr").count() == 50
    box.get_by_role("button", name="Show more").click()
    box.get_by_role("button", name="score", exact=True).press("Enter")
    assert box.get_by_role("columnheader", name="score").get_attribute("aria-sort") == "ascending"
    assert report.scores.loc[report.scores[OWN].idxmin(), "image_id"] in first.inner_text()
    box.get_by_role("combobox", name="Show").select_option(label="misses at the threshold")
    missed = wrong(report, OWN, report.about("thresholds")[OWN])[-1]
    assert box.locator("tbody tr").count() == missed
    box.get_by_role("combobox", name="Show").select_option(label="DME")
    opener = box.locator("tbody button").first
    name = opener.inner_text()
    opener.press("Enter")
    assert name in page.get_by_role("dialog").inner_text()


def test_tables_sort_by_number_and_keep_their_intervals(show):
    page = show()
    table = page.locator("#oct table.sortable").first
    head = table.get_by_role("columnheader", name="AUROC [95 %]", exact=False).first
    column = head.evaluate("(one) => one.cellIndex")
    texts = {}
    for order in ("descending", "ascending"):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        cells = table.locator(f"tbody td:nth-child({column + 1})")
        texts[order] = cells.all_inner_texts()
        values = [
            float(value) for value in cells.evaluate_all("(all) => all.map((c) => c.dataset.sort).filter(Boolean)")
        ]
        assert values == sorted(values, reverse=order == "descending")
    assert sorted(texts["ascending"]) == sorted(texts["descending"])
    assert any("[" in text for text in texts["ascending"])


def test_dark_mode_is_the_systems_until_it_is_chosen_and_then_kept(show):
    page = show(color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    button = page.get_by_role("button", name="Dark mode")
    assert button.get_attribute("aria-pressed") == "true"
    dark = page.evaluate(back)
    drawn(page, ".explorer .dots")
    font = "document.querySelector('.dots').layout.font.color"
    before = page.evaluate(font)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate(back) != dark
    assert page.evaluate(font) != before
    page.reload()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate(back) != dark


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows(show, width):
    page = show(width, 844)
    over = "() => document.scrollingElement.scrollWidth - innerWidth"
    assert page.evaluate(over) <= 0
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for plot in page.locator(".plot .canvas").all():
        plot.scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelectorAll('.main-svg').length >= document.querySelectorAll('.canvas').length"
    )
    assert page.evaluate(over) <= 0
    page.locator(".card-of").first.click()
    assert page.evaluate(over) <= 0
    assert page.get_by_role("dialog").evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0


CONTROLS = {"button", "link", "combobox", "slider", "spinbutton", "checkbox", "dialog", "region", "img", "navigation"}


def test_every_control_has_a_name_and_headings_step_by_one(show):
    page = show()
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    session = page.context.new_cdp_session(page)

    def unnamed():
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in CONTROLS]
        assert len(seen) > 5
        return [node["role"]["value"] for node in seen if not node.get("name", {}).get("value", "").strip()]

    assert unnamed() == []
    levels = page.evaluate(
        "[...document.querySelectorAll('main :is(h1, h2, h3, h4, h5)')].map((one) => +one.tagName[1])"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    page.locator(".card-of").first.click()
    assert unnamed() == []


def test_the_first_tab_skips_to_the_report(show):
    page = show()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (v) => (v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4);
    return .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  };
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(one).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const one of document.querySelectorAll("body *:not(script, style, svg *, .canvas *)")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility() || one.disabled || one.closest(":disabled")) continue;
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(ground(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.add(`${one.tagName}.${one.className}: ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(show, theme):
    page = show(color_scheme=theme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait_for_selector(".list td")
    assert page.evaluate(CONTRAST) == []
    page.locator(".card-of").first.click()
    assert page.evaluate(CONTRAST) == []
