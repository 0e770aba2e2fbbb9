"""The benchmark's report over small fake runs: verdict, tables, pictures, records."""

import json

import numpy as np
import pandas as pd
import pytest

from models.pixel_curve import PixelCurve
from pipeline.evaluation.pictures.gallery import GALLERY, RESAMPLES, chosen
from pipeline.evaluation.records import RECORD_KEYS, Estimate, RecordContext, image_records, pixel_records
from pipeline.evaluation.saved import write_evaluation
from pipeline.evaluation.score_name import ScoreName
from pipeline.reports.benchmark.gallery import sheets
from pipeline.reports.benchmark.publish import publish_benchmark
from pipeline.reports.benchmark.runs import Run, gather
from pipeline.reports.benchmark.tables import (
    cost_table,
    form_table,
    separation,
    table_one,
    table_two,
    training_table,
)
from pipeline.reports.benchmark.verdict import opening, sentences
from pipeline.store.versions import Store

LABELS = {"proxyano": "ProxyAno", "auto_encoder": "Auto-Encoder", "memae": "MemAE", "cycle_gan": "Cycle-GAN"}
LESIONS = ("MA",)
BOOT = 200


def image_table(gains: dict[str, float], count: int = 60) -> pd.DataFrame:
    """Scores that share their noise, so that a gain of .5 is told apart; ``gains`` by score column."""
    rng = np.random.default_rng(0)
    rows = [(split, 0, "normal") for split in ("val", "holdout", "test") for _ in range(count)]
    rows += [("test", 1, klass) for klass in ("CNV", "DME") for _ in range(count)]
    table = pd.DataFrame(rows, columns=["split", "label", "klass"])
    table.insert(0, "image_id", [f"{i:04d}" for i in range(len(table))])
    table["group"] = [f"patient{i // 2}" for i in range(len(table))]
    shared = rng.normal(size=len(table))
    for column, gain in gains.items():
        own = np.random.default_rng(list(column.encode())).normal(size=len(table))
        table[column] = shared + 0.2 * own + gain * table["label"]
    return table


def pixel_scores(method: str, gain: float) -> dict[str, PixelCurve]:
    rng = np.random.default_rng(0)
    curves = {}
    for score in ("standardised", "residual"):
        curve = PixelCurve(LESIONS, scale=1.0, bins=512)
        for number in range(8):
            mask = np.zeros((1, 32, 32), bool)
            mask[0, 8:16, 8:16] = True
            values = rng.normal(size=(32, 32)) + gain * mask[0]
            curve.add(values, mask, np.ones((32, 32), bool), group=str(number))
        curves[f"{method}:{score}"] = curve
    return curves


class Bench:
    """A store with fake evaluations."""

    def __init__(self, root) -> None:
        self.store = Store(root)
        self.runs: list[Run] = []

    def lane(self, dataset: str, gains: dict[str, float]):
        return self._publish(f"{dataset}/evaluation", dataset, "proxyano", gains, 0, {})

    def run(self, dataset: str, method: str, gain: float | None, seed: int = 0, **more: float) -> None:
        """A run whose standardised score gains so much; None: not run."""
        name = f"{method}-seed{seed}" if seed else method
        version = None
        if gain is not None:
            gains = {f"{method}:latent": gain / 2, f"{method}:standardised": gain}
            gains |= {f"{method}:{score}": value for score, value in more.items()}
            asset = f"{dataset}/baseline_evaluations/{name}"
            version = self._publish(asset, dataset, method, gains, seed, pixel_scores(method, gain))
        self.runs.append(
            Run(
                dataset=dataset,
                title=dataset.upper(),
                name=name,
                method=method,
                label=LABELS[method],
                seed=seed,
                version=version,
            )
        )

    def _publish(self, asset, dataset, method, gains, seed, curves):
        work = self.store.work(asset, "a" * 16)
        scores = image_table(gains)
        context = RecordContext(dataset=dataset, preset="quick", seed=seed, data_version="ab12", resamples=BOOT)
        records = image_records(scores, context)
        curves = curves if dataset == "idrid" else {}
        records += pixel_records(curves, context)
        about = {"parameters": 1234, "train_minutes": 1.5, "images_per_second": 80.0, "peak_memory_gib": 0.9}
        about |= {"label": LABELS[method], "entry": method, "budget": {"wide": {"stage1": 400}}}
        about |= {"last_gain": {"wide": {"stage1": 0.01, "stage2": max(gains.values()) / 10}}}
        about |= {"batch_size": {"wide": 16}, "learning_rate": {"wide": {"stage1": 2e-4}}}
        figure = ("reconstruction", "reconstruction_r2", "test normals", Estimate(0.7, 0.6, 0.8, 9))
        records.append(context.record(ScoreName.of(method, "wide"), *figure))
        summary = {"dataset": dataset, "title": dataset, "preset": "quick", "method": method, "seed": seed, **about}
        write_evaluation(work, records=records, scores=scores, summary=summary)
        drawn = {
            name: curve.resampled(n=BOOT, rng=np.random.default_rng(0))["auroc"].tolist()
            for name, curve in curves.items()
        }
        (work / RESAMPLES).write_text(json.dumps(drawn))
        shown, rng = chosen(scores), np.random.default_rng(seed)
        arrays = {"image_id": shown["image_id"].to_numpy(str), "klass": shown["klass"].to_numpy(str)}
        arrays["wide/input"] = np.tile(np.arange(64, dtype=np.uint8), (len(shown), 64, 1))
        arrays["wide/reconstruction"] = rng.integers(0, 255, (len(shown), 64, 64), dtype=np.uint8)
        arrays["wide/map"] = rng.normal(size=(len(shown), 64, 64)).astype(np.float16)
        arrays["wide/truth"] = np.zeros((len(shown), 128, 128), bool)
        np.savez(work / GALLERY, **arrays)
        return self.store.publish(asset, work, f"{abs(hash_of(asset)):016x}"[:16], {})

    def data(self, **lanes):
        return gather(self.runs, lanes)


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-8:], "big")


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store")


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
    assert "No control was run beside them" in " ".join(sentences(data))
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


def test_pixels_are_compared_by_paired_resamples(bench):
    bench.run("idrid", "proxyano", 0.5)
    bench.run("idrid", "memae", 2.0)
    data = bench.data(idrid=None)[0]
    assert data.level == "pixel"
    found = data.differences["memae"]
    values = [data.measured[method][0].value("pixel", "auroc") for method in ("proxyano", "memae")]
    assert found.value == pytest.approx(values[1] - values[0])
    assert found.low > 0
    assert found.p <= 2 / (BOOT + 1)
    assert table_two(data) is None


def test_other_images_are_no_comparison(bench, monkeypatch):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "memae", 1.0)
    data = bench.data(oct=None)[0]
    table = data.measured["memae"][0].lane.scores
    table["image_id"] = table["image_id"].sample(frac=1, random_state=0).to_numpy()
    with pytest.raises(ValueError, match="oct memae: scored other images than proxyano has"):
        _ = data.differences


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
    (sheet,) = sheets(data)
    assert sheet.png.startswith(b"\x89PNG")
    path = data.measured["memae"][0].folder / GALLERY
    arrays = dict(np.load(path))
    arrays["image_id"] = arrays["image_id"][::-1]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="gallery of MemAE: other images than ProxyAno shows"):
        sheets(data)


def test_page_markdown_and_records(bench, tmp_path):
    bench.run("oct", "proxyano", 0.5)
    bench.run("oct", "memae", 1.5)
    bench.run("oct", "auto_encoder", None)
    lane = bench.lane("oct", {"proxyano:standardised": 1.0, CONTROL: 9.0, "shortcut_bytes:value": 0.3})
    folder = tmp_path / "shown"
    made = publish_benchmark(bench.runs, {"oct": lane}, bench.store, folder, {"git commit": "abc"}, code_version="1")
    again = publish_benchmark(bench.runs, {"oct": lane}, bench.store, folder, {"git commit": "def"}, code_version="1")
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
    bench.runs.pop()
    fewer = publish_benchmark(bench.runs, {"oct": lane}, bench.store, folder, {}, code_version="1")
    assert fewer.data_version != made.data_version
