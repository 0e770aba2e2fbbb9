"""A small report in a real browser without a network."""

import io
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from pipeline.evaluation.pictures import strip_png
from pipeline.evaluation.records import RecordContext, image_records, label_free_thresholds
from pipeline.evaluation.saved import PICTURE_COLUMNS, THUMBNAIL, Panel, load_evaluation, write_evaluation
from pipeline.reports.evaluation.explorer import KINDS
from pipeline.reports.evaluation.report import evaluation_report
from pipeline.reports.kit.publish import write_report

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
QUIET += ("--disable-sync", "--no-first-run")
CLASSES = ("CNV", "DME")
FAR = 1000.0  # times as far from the normals are the abnormal images of the lane without pictures
GAINS = {
    "proxyano:standardised": 1.5,
    "proxyano:latent": 0.5,
    "control_pca:standardised": 2.5,
    "shortcut_bytes:value": 0.2,
}


def picture(kind, number, size=(96, 96)):
    """A gray disc, a bright one in heat maps; heat is not known on the right third."""
    image = Image.new("L", size, 0 if kind == "heat" else 60)
    x = 10 + 5 * number % 60
    ImageDraw.Draw(image).ellipse((x, 20, x + 24, 50), fill={"heat": 255, "input": 220}.get(kind, 120))
    if kind == "truth":
        image = image.point(lambda level: 255 if level == 120 else 0).convert("1")
    if kind == "heat":
        seen = Image.new("L", size, 255)
        seen.paste(0, (2 * size[0] // 3, 0, *size))
        image.putalpha(seen)
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
    scores["path"] = [f"{one.split}/{one.klass}/=scan {i:03d}.png" for i, one in enumerate(scores.itertuples())]
    for column, gain in GAINS.items():
        scores[column] = rng.normal(size=len(scores)) + gain * (1 if pictured else FAR) * scores["label"]
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
        pictures=pd.DataFrame(kept if pictured else [], columns=list(PICTURE_COLUMNS)),
    )
    return load_evaluation(folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    lanes = [evaluation(folder / "a", "oct", True), evaluation(folder / "b", "brain_mri", False)]
    write_report(evaluation_report(lanes), folder, {"git commit": "abc", "written": "2026-11-30"})
    return SimpleNamespace(url=(folder / "index.html").as_uri(), scores=lanes[0].scores, about=lanes[0].about)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on the path: install it to test the page")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
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


@pytest.fixture(scope="session")
def drawn():
    """(page, selector) → the plot, scrolled to and drawn."""

    def wait(page, selector):
        page.locator(selector).first.scroll_into_view_if_needed()
        page.wait_for_selector(f"{selector} .main-svg")
        return page.locator(selector).first

    return wait
