"""What the benchmark's report says, and how it compares methods with ProxyAno."""

import pytest

from pipeline.reports.benchmark import claim
from pipeline.reports.benchmark.claim import better_than_eight
from pipeline.reports.benchmark.runs import opening, sentences
from pipeline.reports.benchmark.tables import table_one, table_two

CONTROL = "control_pca:standardised"


def test_a_better_baseline_and_a_better_control_come_first(bench):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "auto_encoder", 2.0)
    bench.run("oct", "memae", 0.62)
    bench.run("oct", "cycle_gan", -0.5)
    lane = bench.lane("oct", {"proxyano:standardised": 1.0, CONTROL: 9.0})
    text = opening(bench.data(oct=lane))
    assert "place 3 of 4 methods" in text
    assert "Auto-Encoder (" in text.split("beats it")[0]
    assert "MemAE (" in text.split("above it, but not clearly")[0].split("beats it")[1]
    assert "it clearly beats 1 of the 1 below it" in text
    assert "A simple control beats them all: PCA has " in text


def test_a_proxyano_ahead_of_all_is_said_too(bench):
    bench.run("oct", "proxyano", 3.0)
    bench.run("oct", "auto_encoder", 0.5)
    text = opening(bench.data(oct=bench.lane("oct", {"proxyano:standardised": 3.0, CONTROL: 0.1})))
    assert "place 1 of 2 methods" in text
    assert "it clearly beats 1 of the 1 below it" in text
    assert "beats them all" not in text
    assert "The best control, PCA, has ." in text


def test_what_was_not_run_is_named_and_has_no_number(bench):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "memae", None)
    data = bench.data(oct=None)[0]
    assert "Not run: MemAE." in " ".join(sentences(data))
    assert "No control was run for comparison" in " ".join(sentences(data))
    table = table_one(data)
    row = next(row for row in table.rows if row[0].text == "MemAE")
    assert row[1].text == "not run"
    measured = [cell for cell, column in zip(row, table.columns, strict=True) if not column.startswith("paper ")]
    assert all(cell.sort is None for cell in measured)
    assert [cell.text for cell in row[-3:]] == [".876", ".838", ".652"]
    assert next(row for row in table.rows if row[0].text == "controls")[1].text == "not run"


def test_nothing_run_says_so(bench):
    bench.run("oct", "proxyano", None)
    assert opening(bench.data(oct=None)) == "No method has been run yet."
    bench.run("idrid", "memae", 1.0)
    text = opening(bench.data(oct=None, idrid=None))
    assert "OCT, image level: no method has been run." in text
    assert "ProxyAno was not run; the best of the others is MemAE" in text


def test_pixels_are_compared_by_paired_resamples(bench):
    bench.run("idrid", "proxyano", 0.5)
    bench.run("idrid", "memae", 2.0)
    data = bench.data(idrid=None)[0]
    assert data.level == "pixel"
    found = data.differences["memae"]
    values = [data.measured[method][0].value("pixel", "auroc") for method in ("proxyano", "memae")]
    assert found.value == pytest.approx(values[1] - values[0])
    assert found.low > 0
    assert found.p <= 2 / (200 + 1)
    assert table_two(data) is None


def test_other_images_are_no_comparison(bench, monkeypatch):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "memae", 1.0)
    data = bench.data(oct=None)[0]
    table = data.measured["memae"][0].lane.scores
    table["image_id"] = table["image_id"].sample(frac=1, random_state=0).to_numpy()
    with pytest.raises(ValueError, match="oct memae: scored other images than proxyano has"):
        _ = data.differences


def test_the_claim_of_table_one_is_judged_over_the_seeds(bench, monkeypatch):
    monkeypatch.setattr(claim, "TABLE_I", {"proxyano": (), "auto_encoder": (), "memae": ()})
    for seed in (0, 1):
        bench.run("oct", "proxyano", 2.0, seed)
        bench.run("oct", "auto_encoder", 0.5, seed)
    found = better_than_eight(bench.data(oct=None)[0])
    assert (found["verdict"], found["form"]) == ("cannot be told here", "canonical")
    assert found["why"] == "clearly so in 1 of 2 comparisons, missing: memae"
    bench.run("oct", "memae", 0.7)
    assert better_than_eight(bench.data(oct=None)[0])["verdict"] == "holds"
    first = better_than_eight(bench.data(oct=None)[0])["differences"][0]
    assert set(first["values"]) == {"seed 0", "seed 1"}
    assert 0 < first["low"] < first["value"] < first["high"] < 1
    assert first["value"] == pytest.approx(sum(first["values"].values()) / 2, abs=1e-3)


def test_the_claim_does_not_hold_where_one_method_is_clearly_better(bench, monkeypatch):
    monkeypatch.setattr(claim, "TABLE_I", {"proxyano": (), "auto_encoder": (), "memae": ()})
    for dataset in ("oct", "idrid"):
        bench.run(dataset, "proxyano", 0.5)
        bench.run(dataset, "memae", 2.0)
    found = [better_than_eight(data) for data in bench.data(oct=None, idrid=None)]
    assert [one["verdict"] for one in found] == ["does not hold"] * 2, "image and pixel level"
    assert "clearly the other way in 1 (ProxyAno against MemAE)" in found[0]["why"]
