"""The report over small fake evaluations: records, verdict, page, Markdown and the terminal's table."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from models.metrics import auroc
from models.pixel_curve import PIXEL_METRICS, PixelCurve
from pipeline.errors import StoreCorrupt
from pipeline.evaluation.nulls import network_records
from pipeline.evaluation.records import (
    IMAGE_METRICS,
    RECORD_KEYS,
    RecordContext,
    find,
    image_records,
    label_free_thresholds,
    pixel_records,
    without_shortcuts,
)
from pipeline.evaluation.saved import LaneEvaluation, Panel, load_evaluation, strip_png, write_evaluation
from pipeline.evaluation.score_name import ScoreName
from pipeline.reports.evaluation.fidelity_table import fidelity
from pipeline.reports.evaluation.page import build_report
from pipeline.reports.evaluation.terminal import summary_table
from pipeline.reports.kit.pictures import data_links
from pipeline.reports.kit.verdict import lead, number, sentences, title, verdict

CLASSES = ("CNV", "DME", "DRUSEN")


def image_table(gains, count=30, seed=0):
    """Image scores: normals N(0, 1), abnormal images N(gain, 1), per score column."""
    rng = np.random.default_rng(seed)
    rows = [(split, 0, "normal") for split in ("val", "holdout", "test") for _ in range(count)]
    rows += [("test", 1, klass) for klass in CLASSES for _ in range(count)]
    table = pd.DataFrame(rows, columns=["split", "label", "klass"])
    table.insert(0, "image_id", [f"{i:04d}" for i in range(len(table))])
    table["group"] = [f"patient{i // 2}" for i in range(len(table))]
    for column, gain in gains.items():
        table[column] = rng.normal(size=len(table)) + gain * table["label"]
    return table


def summary(dataset, **more):
    return {"dataset": dataset, "title": dataset.upper(), "preset": "quick", "method": "proxyano", "seed": 0, **more}


def context(dataset):
    return RecordContext(dataset=dataset, preset="quick", seed=0, data_version="ab12", resamples=60)


def make_lane(dataset, gains, **more):
    scores = image_table(gains)
    records = image_records(scores, context(dataset))
    about = summary(dataset, thresholds=label_free_thresholds(scores), **more)
    return LaneEvaluation(records=records, scores=scores, summary=about)


WINS = {"proxyano:latent": 1.0, "proxyano:standardised": 5.0, "control_pca:standardised": 0.5}
LOSES = {"proxyano:latent": 0.3, "proxyano:standardised": 0.6, "control_pca:standardised": 5.0}


@pytest.fixture(scope="module")
def oct_lane():
    return make_lane("oct", LOSES | {"shortcut_bytes:value": -0.6}, minutes={"stage1": 7.5}, peak_memory_gib=3.25)


@pytest.fixture(scope="module")
def idrid_lane():
    rng = np.random.default_rng(0)
    curves = {}
    for name, gain in {"proxyano:standardised": 1.0, "control_median:residual": 0.4}.items():
        curves[name] = PixelCurve(("MA", "EX"), scale=1.0, bins=512)
        for i in range(4):
            masks = np.zeros((2, 40, 40), bool)
            masks[0, 4:8, 4:8] = masks[1, 20:30, 20:30] = True
            scores = rng.normal(size=(40, 40)) + gain * masks.any(0)
            curves[name].add(scores, masks, np.ones((40, 40), bool), group=str(i))
    records = pixel_records(curves, context("idrid"))
    picture = rng.integers(0, 256, (60, 60), dtype=np.uint8)
    png = strip_png({"input": picture, "truth": np.stack([picture] * 3, axis=-1)}, height=64)
    return LaneEvaluation(
        records=records,
        scores=image_table({"proxyano:standardised": 1.0}).query("split != 'test' or label == 1"),
        curves={name: {subset: curve.curves(subset) for subset in curve.subsets} for name, curve in curves.items()},
        panels=[Panel(file="worst_0.png", caption="Worst <case> of all", png=png)],
        summary=summary(
            "idrid",
            counts={"train": 134, "test": 4},
            official_counts={"train": 134, "test": 81},
            quarantine=[{"path": "a/broken.jpg", "reason": "truncated after 7 bytes"}],
            config={"training": {"steps": 200}},
            versions={"idrid/tiles": "feed0123"},
            mlflow={"stage1": "http://127.0.0.1:5000/#/experiments/1"},
            notes=["Gray (green channel)."],
            model_card="# Choices\n\n| item | value |\n| --- | --- |\n| k | 128 |\n\n<script>alert(1)</script>",
        ),
    )


@pytest.fixture(scope="module")
def report(oct_lane, idrid_lane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    build_report([oct_lane, idrid_lane], folder, {"git commit": "abc1234", "versions": {"torch": "2"}})
    return folder


class Page(HTMLParser):
    """Text, tags, links and pictures of a page; fails on a tag closed out of order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, source):
        super().__init__()
        self.open, self.text, self.paragraphs, self.sources, self.scripts = [], [], [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "srcset") or (tag, name) == ("link", "href")]
        if tag == "p":
            self.paragraphs.append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text.append(data)
            if "p" in self.open:
                self.paragraphs[-1] += data


def test_what_a_shortcut_explains_is_taken_out_of_the_judged_score_alone():
    draw = np.random.default_rng(0)
    size = draw.normal(size=300)
    split = np.repeat(["val", "test", "test"], 100)
    label = np.repeat([0, 0, 1], 100)
    size[200:] += 1.0  # abnormal files are larger
    lesion = draw.normal(size=300) + 0.5 * label
    ids = [str(n) for n in range(300)]
    table = pd.DataFrame({"image_id": ids, "split": split, "label": label, "klass": "x", "group": ids})
    table["a:standardised"], table["a:worst"] = size + 0.05 * draw.normal(size=300), size
    table["b:standardised"], table["shortcut_bytes:value"] = size + lesion, size
    free = without_shortcuts(table)
    test = split == "test"
    assert abs(auroc(label[test], free["a:standardised"][test]) - 0.5) < 0.08  # nothing but the shortcut
    assert auroc(label[test], free["b:standardised"][test]) == pytest.approx(auroc(label[test], lesion[test]), abs=0.05)
    assert free["a:worst"].equals(table["a:worst"])
    few = table.iloc[90:]
    assert without_shortcuts(few.drop(columns="shortcut_bytes:value")).equals(few.drop(columns="shortcut_bytes:value"))


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "index.html").read_text(encoding="utf-8"))


def test_image_records_have_exactly_the_keys_and_metrics(oct_lane):
    assert all(tuple(record) == RECORD_KEYS for record in oct_lane.records)
    of_all = find(oct_lane.records, method="proxyano", score="latent", subset="all")
    assert {r["metric"] for r in of_all} == set(IMAGE_METRICS) - {"auroc_adjusted"}
    judged = find(oct_lane.records, method="proxyano", score="standardised", subset="all")
    assert {r["metric"] for r in judged} == set(IMAGE_METRICS)
    assert {r["metric"] for r in find(oct_lane.records, method="shortcut_bytes")} == {"auroc", "auroc_heldout"}
    assert {r["subset"] for r in oct_lane.records} == {"all", *CLASSES}
    auroc = next(r for r in of_all if r["metric"] == "auroc")
    assert auroc["n"] == 120
    assert auroc["low"] < auroc["value"] < auroc["high"]


def test_shortcuts_are_free_of_direction(oct_lane):
    bytes_ = find(oct_lane.records, method="shortcut_bytes", metric="auroc")
    assert all(0.5 <= record["value"] <= 1 for record in bytes_)
    assert next(r for r in bytes_ if r["subset"] == "all")["value"] > 0.6


def test_a_lane_without_test_normals_still_has_its_heldout_line():
    scores = image_table({"proxyano:latent": 2.0}).query("split != 'test' or label == 1")
    records = image_records(scores, context("idrid"))
    assert {r["metric"] for r in records} == {"auroc_heldout"}


def test_image_records_refuse_unscored_images_by_name():
    scores = image_table({"proxyano:latent": 2.0})
    scores.loc[scores["split"] == "test", "proxyano:latent"] = np.nan
    with pytest.raises(ValueError, match="'proxyano:latent', test negatives"):
        image_records(scores, context("oct"))
    with pytest.raises(ValueError, match="lack the columns"):
        image_records(scores.drop(columns="group"), context("oct"))


def test_pixel_records_name_every_lesion_and_metric(idrid_lane):
    assert {r["metric"] for r in idrid_lane.records} == set(PIXEL_METRICS)
    assert {r["subset"] for r in idrid_lane.records} == {"all", "MA", "EX"}
    assert all(r["level"] == "pixel" and r["n"] == 4 for r in idrid_lane.records)


def test_an_evaluation_is_read_as_it_was_written(idrid_lane, tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_evaluation(
            folder,
            records=idrid_lane.records,
            scores=idrid_lane.scores,
            curves=idrid_lane.curves,
            panels=idrid_lane.panels,
            summary=idrid_lane.summary,
        )
    back = load_evaluation(tmp_path / "a")
    assert back.records == idrid_lane.records
    assert back.summary == idrid_lane.summary
    assert back.panels == idrid_lane.panels
    assert back.curves == idrid_lane.curves
    pd.testing.assert_frame_equal(back.scores, idrid_lane.scores.reset_index(drop=True))
    for path in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    (tmp_path / "b" / "summary.json").unlink()
    with pytest.raises(StoreCorrupt, match="summary"):
        load_evaluation(tmp_path / "b")


def test_a_lane_checks_its_keys(oct_lane):
    with pytest.raises(ValueError, match=r"missing \['seed'\], unknown \['colour'\]"):
        replace(oct_lane, summary={**{k: v for k, v in oct_lane.summary.items() if k != "seed"}, "colour": 1})
    with pytest.raises(ValueError, match="a record has the keys"):
        replace(oct_lane, records=[{**oct_lane.records[0], "extra": 1}])


def test_the_verdict_says_that_the_control_wins_when_it_wins(oct_lane):
    said = " ".join(sentences(verdict(oct_lane)))
    assert lead([verdict(oct_lane)]) == "ProxyAno stays behind the best control on OCT."
    assert "ProxyAno stays behind this control; the intervals do not overlap." in said
    assert "the best control (PCA, standardised)" in said
    assert "A shortcut may explain this result: the shortcut “file size” alone reaches" in said
    assert "The paper reports .933." in said
    assert "Against held-out training normals" in said


def test_the_verdict_says_that_proxyano_is_ahead_when_it_is():
    judged = verdict(make_lane("brain_mri", WINS))
    said = " ".join(sentences(judged))
    assert lead([judged]) == "ProxyAno is ahead of every control on BRAIN_MRI."
    assert "behind" not in said
    assert "shortcut" not in said
    assert "ProxyAno (score: standardised)" in said


def test_overlapping_intervals_are_no_victory():
    judged = verdict(make_lane("oct", {"proxyano:latent": 1.05, "control_pca:standardised": 1.0}))
    assert judged.overlapping
    assert "the intervals overlap" in " ".join(sentences(judged))
    assert "ahead of every" not in lead([judged])


def test_what_prints_alike_is_level(oct_lane):
    judged = verdict(oct_lane)
    method, control = judged.method, judged.control
    assert method is not None
    assert control is not None
    tie = replace(judged, method=method | {"value": 0.9381}, control=control | {"value": 0.9384, "low": 0.9, "high": 1})
    assert tie.standing == "level"
    assert "ProxyAno is level with this control" in " ".join(sentences(tie))
    assert lead([tie]) == "ProxyAno cannot be told apart from the best control on OCT."
    ahead = replace(tie, control=control | {"value": 0.9374, "low": 0.9, "high": 1})
    assert ahead.standing == "ahead, intervals overlap"


def test_a_leaking_split_and_a_missing_control_are_said():
    judged = verdict(make_lane("brain_mri", {"proxyano:latent": 2.0}, leaking=True))
    said = " ".join(sentences(judged))
    assert "no control was measured" in said
    assert "it leaks" in said
    assert lead([judged]) == "There is nothing to compare it with on BRAIN_MRI."


def test_the_page_is_self_contained_small_and_well_formed(report, page):
    assert (report / "index.html").stat().st_size < 15e6
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    assert sum("Plotly" in script for script in page.scripts) == 2
    source = (report / "index.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in source
    assert "<script>alert" not in source
    for script in page.scripts:
        if script.lstrip().startswith("["):
            for figure in json.loads(script):
                assert figure["data"]


def test_the_page_opens_with_the_verdict_and_shows_what_must_be_shown(page):
    first = " ".join(page.paragraphs[0].split())
    assert first.startswith("ProxyAno stays behind the best control on OCT; it is ahead of every control on IDRID.")
    assert "ProxyAno stays behind this control" in first
    text = " ".join(" ".join(page.text).split())
    for wanted in (
        "The paper says 69 IDRiD test images, the official set has 81 with lesion masks, and here are 4.",
        ".701",
        ".933",
        "Table V, latent space",
        "a/broken.jpg",
        "truncated after 7 bytes",
        "training.steps",
        "feed0123",
        "abc1234",
        "By class, against held-out training normals",
        "By lesion type",
        "Label-free thresholds",
        "3.25 GiB",
        "7.5 min",
        "Worst <case> of all",
        "free of direction",
        "oracle",
    ):
        assert wanted in text


def test_markdown_and_json_tell_the_same(report, oct_lane, idrid_lane):
    records = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert records == [*oct_lane.records, *idrid_lane.records]
    lines = (report / "report.md").read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith("ProxyAno stays behind the best control on OCT;")
    tables = [line for line in lines if line.startswith("|")]
    assert any("ProxyAno in the paper" in line and "Table I" in line for line in tables)
    assert "- git commit: abc1234" in lines
    assert sorted(path.name for path in report.iterdir()) == ["index.html", "report.json", "report.md"]


def test_a_report_needs_lanes_of_different_data_sets(oct_lane, tmp_path):
    for lanes in ([], [oct_lane, oct_lane]):
        with pytest.raises(ValueError, match="each data set once"):
            build_report(lanes, tmp_path, {})


@pytest.mark.parametrize(
    ("gain", "words"), [(0.5, "ProxyAno is ahead of its null"), (6.0, "ProxyAno is behind its null")]
)
def test_the_first_paragraph_and_the_summaries_say_what_the_network_adds(tmp_path, gain, words):
    lane = make_lane("oct", {"proxyano:standardised": 2.0, "null_median:standardised": gain})
    more = network_records(lane.scores, {}, ScoreName.of("proxyano"), context("oct"))
    lane = replace(lane, records=[*lane.records, *more])
    build_report([lane], tmp_path, {})
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    first = " ".join(page.paragraphs[0].split())
    assert "The same score without the network (median filter instead of Î) has" in first
    assert words in first
    assert "without the network" in " ".join(page.text)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(summary_table(lane.records))
    assert words in " ".join(shown.get().split())
    assert max(map(len, shown.get().splitlines())) <= 100


def test_what_the_method_does_stands_in_one_table(oct_lane):
    plain = {**oct_lane.records[0], "level": "reconstruction", "method": "proxyano", "low": 0.4, "high": 0.6, "n": 3}
    made = [
        plain | {"score": canvas, "metric": metric, "subset": subset, "value": 0.5}
        for canvas in ("wide", "tight")
        for metric, subset in (
            ("reconstruction_r2", "validation normals"),
            ("repair", "streak"),
            ("memory_items_used", "validation normals"),
        )
    ]
    assert fidelity(oct_lane) is None
    table = fidelity(replace(oct_lane, records=[*oct_lane.records, *made]))
    assert table is not None
    assert table.title == "What the method does"
    assert list(table.columns) == ["method", "canvas", "measured", "validation normals", "streak"]
    texts = [[cell.text for cell in row] for row in table.rows]
    assert len(texts) == 6
    assert texts[0] == ["ProxyAno", "wide", "reconstruction: Î against I, R²", "0.50 [0.40, 0.60]", "–"]
    assert texts[1][3:] == ["–", "0.50 [0.40, 0.60]"]
    assert texts[2][3] == "0 [0, 1]"


def test_the_terminal_table_names_the_control_that_is_ahead(oct_lane, idrid_lane):
    console = Console(width=160)
    with console.capture() as shown:
        console.print(summary_table([*oct_lane.records, *idrid_lane.records]))
    lines = shown.get().splitlines()
    row = next(line for line in lines if "oct (image)" in line)
    assert "← ahead" in row
    assert ".933" in row
    assert "[" in row
    assert "← ahead" not in next(line for line in lines if "idrid (pixel)" in line)


def test_pictures_shrink_until_they_fit():
    rng = np.random.default_rng(0)
    png = strip_png({"noise": rng.integers(0, 256, (400, 800), dtype=np.uint8)}, height=400)
    panels = [Panel(file=f"{i}.png", caption="", png=png) for i in range(3)]
    free, tight = data_links(panels), data_links(panels, budget=200_000)
    assert sum(map(len, tight)) <= 200_000 < sum(map(len, free))


def test_numbers_and_names_are_written_for_people():
    assert [number(v) for v in (0.9853, 1.0, None, -0.25, 0.0)] == [".985", "1.000", "–", "-.250", ".000"]
    assert title("control_mean_intensity") == "mean intensity"
    assert title("proxyano") == "ProxyAno"


def test_a_committee_and_its_members_are_drawn_and_named(tmp_path):
    scores = WINS | {"committee:standardised": 6.0, "member_denoising:standardised": 2.0}
    build_report([make_lane("oct", scores)], tmp_path, {})
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    text = " ".join(page.text)
    assert "denoising auto-encoder" in text
    assert "The committee has" in text
    plots = "".join(page.scripts)
    assert '"name":"other learned methods"' in plots
    assert '"name":"committee"' in plots
