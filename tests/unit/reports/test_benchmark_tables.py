"""The benchmark's tables, pictures and files."""

import json

import numpy as np
import pytest

from pipeline.evaluation.layers import GALLERY
from pipeline.evaluation.records import RECORD_KEYS
from pipeline.reports.benchmark.report import benchmark_report, draft
from pipeline.reports.benchmark.tables import cost_table, form_table, separation, table_one, table_two, training_table
from pipeline.reports.kit.publish import publish

CONTROL = "control_pca:standardised"


def test_seeds_are_averaged_and_the_best_is_bold(bench):
    for seed, gain in enumerate((0.8, 1.0, 1.2)):
        bench.run("oct", "proxyano", gain, seed)
    bench.run("oct", "auto_encoder", 2.0)
    data = bench.data(oct=None)[0]
    table = table_one(data)
    assert [row[0].text for row in table.rows[:2]] == ["Auto-Encoder", "ProxyAno"]
    spread = table.columns.index("AUROC, mean ± sd over seeds")
    values = [one.value("image", "auroc") for one in data.measured["proxyano"]]
    assert table.rows[1][spread].sort == pytest.approx(np.mean(values))
    assert table.rows[1][spread].text.endswith("(3)")
    assert table.rows[0][spread].text == "one seed"
    auroc = table.columns.index("AUROC [95 %]")
    assert [row[auroc].strong for row in table.rows[:2]] == [True, False]
    compared = table.columns.index("AUROC − ProxyAno's [95 %]")
    assert table.rows[0][compared].sort == pytest.approx(
        data.measured["auto_encoder"][0].value("image", "auroc") - values[0]
    )


def test_another_way_to_score_a_run_is_a_row_of_its_own(bench):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "cycle_gan", 0.5, standardised_from_proxy=1.5)
    rows = [(row[0].text, row[1].text) for row in table_one(bench.data(oct=None)[0]).rows]
    assert rows[0] == ("Cycle-GAN", "from proxy")
    assert ("Cycle-GAN", "standardised") in rows


def test_scores_are_in_sd_of_validation_normals(bench):
    bench.run("oct", "proxyano", 2.0)
    data = bench.data(oct=None)[0]
    one = data.measured["proxyano"][0]
    normal, abnormal, gap = separation(one, "standardised")
    assert abs(normal) < 0.5
    assert gap == pytest.approx(abnormal - normal)
    one.lane.scores["proxyano:standardised"] = 5 + 3 * one.lane.scores["proxyano:standardised"]
    assert separation(one, "standardised") == pytest.approx((normal, abnormal, gap))
    assert [cell.text for cell in table_two(data).rows[0][-3:]] == [".568", "1.003", ".435"]


def test_form_on_and_off_stand_side_by_side(bench):
    bench.run("oct", "proxyano", 2.0)
    bench.run("oct", "memae", 2.0)
    bench.run("oct_plain", "proxyano", 0.2)
    on, off = bench.data(oct=None, oct_plain=None)
    table = form_table(on, off)
    assert [row[0].text for row in table.rows] == ["ProxyAno"]
    own, other = (data.measured["proxyano"][0].value("image", "auroc") for data in (on, off))
    assert [cell.sort for cell in table.rows[0][1:4]] == pytest.approx([own, other, own - other])


def test_costs_are_listed(bench):
    bench.run("oct", "proxyano", 2.0)
    row = cost_table(bench.data(oct=None)[0]).rows[0]
    assert [cell.text for cell in row] == ["ProxyAno", "1,234", "400", "16", "0.0002", "1.5", "80", "0.90"]


def test_what_was_learned_stands_beside_whether_it_converged(bench):
    bench.run("oct", "proxyano", 2.0)
    bench.run("oct", "memae", 0.1)
    table = training_table(bench.data(oct=None)[0])
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["ProxyAno", "–", "0.70", "–", "no", "20 %"],
        ["MemAE", "–", "0.70", "–", "yes", "1 %"],
    ]


def test_the_gallery_is_refused_where_images_differ(bench):
    bench.run("oct", "proxyano", 2.0)
    bench.run("oct", "memae", 2.0)
    data = bench.data(oct=None)[0]
    (sheet,) = benchmark_report([data]).parts[0].pictures
    assert sheet.png.startswith(b"\x89PNG")
    path = data.measured["memae"][0].folder / GALLERY
    arrays = dict(np.load(path))
    arrays["image_id"] = arrays["image_id"][::-1]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="gallery of MemAE: other images than ProxyAno shows"):
        benchmark_report([data])


def test_page_markdown_and_records(bench, tmp_path):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "memae", 1.5)
    bench.run("oct", "auto_encoder", None)
    lane = bench.lane("oct", {"proxyano:standardised": 1.0, CONTROL: 9.0, "shortcut_bytes:value": 0.3})
    folder = tmp_path / "shown"

    def made_of(runs, commit):
        drafted = draft(runs, {"oct": lane})
        return publish(drafted, bench.store, folder, {"git commit": commit}, code_version="1")

    made = made_of(bench.runs, "abc")
    again = made_of(bench.runs, "def")
    assert again == made
    text = (folder / "report.md").read_text()
    assert "A simple control beats them all" in text.splitlines()[2]
    assert "- git commit: abc" in text
    page = (folder / "index.html").read_text()
    assert "data:image/" in page
    assert "https://" not in page.split("<script>")[0]
    records = json.loads((folder / "report.json").read_text())
    assert {tuple(record) for record in records} == {RECORD_KEYS}
    methods = {record["method"] for record in records}
    assert methods == {"proxyano", "memae", "proxyano_lane", "control_pca", "shortcut_bytes"}
    fewer = made_of(bench.runs[:-1], "abc")
    assert fewer.data_version != made.data_version
