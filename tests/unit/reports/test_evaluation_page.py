"""The evaluation report's page, Markdown and records, and its tables."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from pipeline.evaluation.nulls import network_records
from pipeline.evaluation.pictures import strip_png
from pipeline.evaluation.saved import Panel
from pipeline.evaluation.score_name import ScoreName
from pipeline.reports.evaluation.report import evaluation_report
from pipeline.reports.evaluation.tables import fidelity, summary_table
from pipeline.reports.kit.pictures import panel_links
from pipeline.reports.kit.publish import write_report


@pytest.fixture(scope="module")
def report(oct_lane, idrid_lane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    provenance = {"git commit": "abc1234", "versions": {"torch": "2"}}
    write_report(evaluation_report([oct_lane, idrid_lane]), folder, provenance)
    return folder


@pytest.fixture(scope="module")
def page(report, read_page):
    return read_page(report)


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
    first = " ".join(" ".join(page.paragraphs[:3]).split())
    assert first.startswith("ProxyAno stays behind the best control on OCT; it is ahead of every control on IDRID.")
    assert "ProxyAno stays behind this control" in first
    text = " ".join(" ".join(" ".join(page.text).split()).split())
    for wanted in (
        "The paper says 69 IDRiD test images, the official set has 81 with lesion masks, and 4 were evaluated here.",
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
        "Gray <green> channel.",
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


def test_a_report_needs_lanes_of_different_data_sets(oct_lane):
    for lanes in ([], [oct_lane, oct_lane]):
        with pytest.raises(ValueError, match="each data set once"):
            evaluation_report(lanes)


@pytest.mark.parametrize(
    ("gain", "words"), [(0.5, "ProxyAno is ahead of its null"), (6.0, "ProxyAno is behind its null")]
)
def test_the_first_paragraph_and_the_summaries_say_what_the_network_adds(
    make_lane, record_context, read_page, tmp_path, gain, words
):
    lane = make_lane("oct", {"proxyano:standardised": 2.0, "null_median:standardised": gain})
    more = network_records(lane.scores, {}, ScoreName.of("proxyano"), record_context("oct"))
    lane = replace(lane, records=[*lane.records, *more])
    write_report(evaluation_report([lane]), tmp_path, {})
    page = read_page(tmp_path)
    first = " ".join(" ".join(page.paragraphs[:3]).split())
    assert "The same score without the network (median filter instead of Î) has" in first
    assert words in first
    assert "without the network" in " ".join(" ".join(page.text).split())
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


def test_pictures_shrink_until_they_fit():
    rng = np.random.default_rng(0)
    png = strip_png({"noise": rng.integers(0, 256, (400, 800), dtype=np.uint8)}, height=400)
    panels = [Panel(file=f"{i}.png", caption="", png=png) for i in range(3)]
    free, tight = ([len(link) for _, link in panel_links(panels, budget)] for budget in (10**8, 200_000))
    assert sum(tight) <= 200_000 < sum(free)


def test_a_committee_and_its_members_are_drawn_and_named(make_lane, read_page, tmp_path):
    scores = {"proxyano:standardised": 5.0, "control_pca:standardised": 0.5} | {
        "committee:standardised": 6.0,
        "member_denoising:standardised": 2.0,
    }
    write_report(evaluation_report([make_lane("oct", scores)]), tmp_path, {})
    page = read_page(tmp_path)
    text = " ".join(" ".join(page.text).split())
    assert "denoising auto-encoder" in text
    assert "The committee has" in text
    plots = "".join(page.scripts)
    assert '"name":"other learned methods"' in plots
    assert '"name":"committee"' in plots
