"""The ablations' report over small made-up evaluations: verdicts, tables, figures, files."""

import json

import numpy as np
import pandas as pd
import pytest

from assets.report import experiments_of
from assets.stage import LaneAssets
from pipeline.data.datasets import DATASETS
from pipeline.evaluation.checks import page_opens_offline
from pipeline.evaluation.layers import GALLERY
from pipeline.evaluation.pictures import strip_png
from pipeline.evaluation.records import RECORD_KEYS, RecordContext, image_records
from pipeline.evaluation.saved import Panel, write_evaluation
from pipeline.experiments.presets import PRESETS
from pipeline.reports.ablations.experiments import (
    CONFIRMED,
    REFUSED,
    RESAMPLES,
    UNDECIDED,
    UNTESTED,
    DataSet,
    judge,
    opening,
)
from pipeline.reports.ablations.report import COMPARED, draft, drawn, part, pictures
from pipeline.reports.ablations.tables import printed_table
from pipeline.reports.kit.paper import CLAIMS, PRINTED
from pipeline.reports.kit.publish import publish
from pipeline.reports.kit.runs import SURE
from pipeline.store.versions import Store, Version, fingerprint

pytestmark = pytest.mark.slow

BOOT = 100
GAINS = {"enc_dec": 0.5, "enc_dec_soft": 0.5, "enc_dec_mem": 1.5, "si": 1.4, "si_mem": 0.6, "si_rep": 2.0}


def scores_of(method: str, gains: dict[str, float], count: int = 60) -> pd.DataFrame:
    """Scores that share most of their noise, so that a gain of a whole sd is told apart and none is not."""
    rows = [(split, 0) for split in ("val", "holdout", "test") for _ in range(count)] + [("test", 1)] * 2 * count
    table = pd.DataFrame(rows, columns=["split", "label"])
    table["klass"] = np.where(table["label"] == 1, "DME", "normal")
    table.insert(0, "image_id", [f"{i:04d}" for i in range(len(table))])
    table["group"] = [f"patient{i // 2}" for i in range(len(table))]
    shared = np.random.default_rng(0).normal(size=len(table))
    for score, gain in gains.items():
        own = np.random.default_rng(list(score.encode())).normal(size=len(table))
        table[f"{method}:{score}"] = shared + 0.2 * own + gain * table["label"]
    return table


class Bench:
    """A lane whose experiments are made by saying how much better their score tells abnormal images."""

    def __init__(self, root, name: str = "oct") -> None:
        self.store = Store(root)
        self.lane = LaneAssets(
            dataset=DATASETS[name], lane=PRESETS["quick"].lanes[name], preset="quick", seed=0, source=""
        )

    def make(self, name: str, gain: float, latent: float | None = None, **more: object) -> None:
        row = self.lane.lane.ablations[name]
        asset, method = self.lane.stored("ablations", name), row.training.method
        work = self.store.work(asset, "a" * 16)
        gains = {"image": gain, "latent": gain if latent is None else latent, "standardised": gain}
        scores = scores_of(method, gains, count=more.pop("images", 60))
        head = {"dataset": self.lane.dataset.name, "preset": "quick", "seed": row.seed}
        records = image_records(scores, RecordContext(**head, data_version="ab12", resamples=BOOT))
        summary = {**head, "title": "OCT", "method": method, "train_minutes": 1.5, "label": row.label, "entry": name}
        write_evaluation(work, records=records, scores=scores, summary=summary | more)
        canvas = np.zeros((2, 8, 8), np.uint8)
        layers = {f"wide/{layer}": canvas for layer in ("input", "proxy", "reconstruction", "map")}
        np.savez_compressed(work / GALLERY, image_id=np.array(["0", "1"]), klass=np.array(["CNV", "DME"]), **layers)
        self.store.point(self.store.publish(asset, work, fingerprint(name, gain, latent, len(scores)), {}))

    @property
    def data(self) -> DataSet:
        return experiments_of(self.lane, self.store)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path / "store")
    for name, gain in GAINS.items():
        made.make(name, gain)
    return made


def words(data: DataSet) -> dict[str, str]:
    return {one.claim.text: one.word for one in judge(data)}


def test_claims_are_confirmed_refused_undecided_or_not_tested(bench):
    found = words(bench.data)
    assert found["the superpixel image as a proxy improves the auto-encoder"] == CONFIRMED
    assert found["a memory of nearest items is better than MemAE's"] == CONFIRMED
    assert found["the memory improves the Proxy Extraction Module"] == REFUSED
    assert found["a memory improves the auto-encoder"] == UNDECIDED, "one of its two comparisons shows nothing"
    assert found["every proxy is better than none"] == UNTESTED
    assert len(found) == len([claim for claim in CLAIMS if claim.dataset == "oct"])
    (memory,) = [one for one in judge(bench.data) if "Extraction" in one.claim.text]
    assert memory.sentence.startswith("Table IV: that the memory improves the Proxy Extraction Module is not confirmed")
    assert "AUROC" in memory.why
    assert "[-." in memory.why
    (every,) = [one for one in judge(bench.data) if "every proxy" in one.claim.text]
    assert "was not tested" in every.sentence
    assert "clearly so in 1 of 6 comparisons" in every.why
    assert "missing: proxy_edge" in every.why


def test_one_clear_loss_refuses_a_claim_even_where_others_are_missing(bench):
    bench.make("si_mem_rep", 0.1)
    repairing = "the repairing loss improves the result, without and with the memory"
    assert words(bench.data)[repairing] == REFUSED
    (one,) = [one for one in judge(bench.data) if one.claim.text == repairing]
    assert "clearly the other way in 1 (2×EncDec + SI + mem + rep against 2×EncDec + SI + mem)" in one.why


def test_a_row_is_judged_by_its_own_score(bench):
    bench.make("si_mem_rep", 0.6, latent=2.5)
    bench.make("final", 0.6, latent=2.5)
    latent = "the score in latent space is better than that in image space"
    assert words(bench.data)[latent] == CONFIRMED
    bench.make("final", 2.5, latent=0.6)
    assert words(bench.data)[latent] == UNDECIDED


def test_several_seeds_are_averaged_and_have_to_agree(bench):
    memory = ("si_mem", "si")
    one = bench.data.difference(memory)
    assert one.by_seed == (pytest.approx(one.value),)
    bench.make("si_mem-seed1", 0.5)
    assert bench.data.difference(memory) == one, "si has no such seed"
    assert len(bench.data.auroc("si_mem").by_seed) == 2
    bench.make("si-seed1", 1.4)
    two = bench.data.difference(memory)
    assert two.value == pytest.approx(np.mean(two.by_seed))
    assert two.sure
    (judged,) = [each for each in judge(bench.data) if "Extraction" in each.claim.text]
    assert judged.word == REFUSED
    assert "±" in judged.why
    assert "seed by seed" in judged.why
    bench.make("si_mem-seed2", 2.5)
    bench.make("si-seed2", 2.4)
    assert not bench.data.difference(memory).sure, "one seed says the other way"
    assert words(bench.data)["the memory improves the Proxy Extraction Module"] == UNDECIDED
    table = printed_table(next(each for each in PRINTED if each.key == "table_iv"), bench.data)
    seeds = {row[0].text: row[table.columns.index("seeds")].text for row in table.rows}
    assert seeds["2×EncDec + SI + mem"].startswith("3, sd .")
    assert seeds["EncDec"] == "1"


def test_a_figure_is_drawn_where_two_of_its_experiments_were_run(bench):
    names = [panel.file for panel in pictures(bench.data)]
    assert names == ["oct_fig_9_wide.png", "oct_fig_10_wide.png"], "one column compares nothing"
    bench.make("local_0", 1.0)
    assert pictures(bench.data)[-1].file == "oct_fig_13_wide.png"
    every = {name for _, _, columns in COMPARED.values() for name in columns}
    assert every <= set(bench.data.rows)


def test_a_clear_difference_survives_the_correction_for_all_comparisons(bench):
    """The smallest p there can be, times the number of comparisons, has to stay below what counts as sure."""
    pairs = {pair for claim in CLAIMS if claim.dataset == "oct" for pair in claim.pairs}
    assert 2 / (RESAMPLES + 1) * len(pairs) < SURE / 2


def test_experiments_on_other_images_are_not_compared(bench):
    bench.make("si", 1.4, images=50)
    with pytest.raises(ValueError, match="oct: si scored other images than the first experiment; make it again"):
        bench.data.difference(("si", "enc_dec"))


def test_a_table_has_the_paper_beside_it_and_a_test_against_the_neighbour(bench):
    table = printed_table(next(one for one in PRINTED if one.key == "table_iv"), bench.data)
    rows = {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert len(rows) == 8
    memory = rows["2×EncDec + SI + mem"]
    assert memory["changes"].text == "model.memory none → nearest"
    assert memory["against"].text == "2×EncDec + SI"
    assert memory["paper AUC"].sort == 0.854
    assert memory["AUROC − neighbour's [95 %]"].sort < 0
    assert memory["p (Holm)"].sort <= 0.05
    assert memory["AUROC [95 %]"].text.count(",") == 1
    assert memory["seeds"].text == "1"
    assert rows["EncDec"]["p (Holm)"].sort is None
    final = rows["2×EncDec + SI + mem + rep + lat"]
    assert final["score"].text == "not run"
    assert final["paper AUC"].strong
    assert rows["2×EncDec + SI + rep"]["AUROC [95 %]"].strong


def test_figures_show_what_was_made_beside_the_paper(bench):
    figures = {one.key: drawn(one, bench.data) for one in bench.data.printed}
    dots, paper = figures["table_iv"]["data"]
    assert len(dots["x"]) == len(dots["error_x"]["array"]) == len(GAINS)
    assert len(paper["x"]) == 8
    swept = figures["fig_11"]
    assert swept["data"][0]["x"] == [128]
    assert swept["layout"]["xaxis"]["type"] == "log"
    assert swept["layout"]["xaxis"]["tickvals"] == [16, 32, 64, 128, 256, 512, 1024, 2048]
    assert [note["text"] for note in swept["layout"]["annotations"]] == ["no memory"]
    assert figures["fig_12_global"] is None
    bench.make("global_0", 1.0)
    weights = drawn(next(one for one in PRINTED if one.key == "fig_12_global"), bench.data)
    assert [line["x"] for line in weights["data"]] == [[0.0]]
    assert weights["layout"]["xaxis"]["type"] == "linear"


def test_a_data_set_shows_the_tables_it_has_rows_for(bench, tmp_path):
    assert [one.key for one in bench.data.printed] == [one.key for one in PRINTED if one.dataset == "oct"]
    head = Bench(tmp_path / "head", "brain_mri").data
    assert [one.key for one in head.printed] == ["table_v_brain_mri"]
    off = PRESETS["quick"].form_off["oct"]
    lane = LaneAssets(dataset=DATASETS["oct"], lane=off, preset="quick", seed=0, source="oct")
    plain = experiments_of(lane, Store(tmp_path / "plain"))
    assert [one.key for one in plain.printed] == ["table_iv", "table_v_oct"]
    assert "no experiment has been run" in opening([plain])
    assert "Not run: EncDec" in part(plain).notes[-1]


def test_the_report_is_written_once_for_what_it_shows_and_opens_offline(bench, tmp_path):
    folder = tmp_path / "reports"
    png = strip_png({"tile": np.zeros((8, 8), np.uint8)})
    tiles = {"OCT": Version(asset="oct/tiles", data_version="ab12", path=tmp_path, meta={})}
    sheet = Panel(file="oct.png", caption="tiles beside their proxies", png=png)

    def report(preset: str) -> Version:
        drafted = draft([bench.data], tiles, lambda: [sheet])
        return publish(drafted, bench.store, folder, {"preset": preset}, code_version="1")

    made = report("quick")
    assert made == report("other")
    text = (folder / "report.md").read_text()
    assert "of the paper's 14 claims 3 confirmed, 3 not confirmed" in text
    assert "| 2×EncDec + SI + mem | model.memory none → nearest |" in text
    records = json.loads((folder / "report.json").read_text())
    assert {tuple(record) for record in records} == {RECORD_KEYS}
    assert {record["method"] for record in records} == set(GAINS)
    passed, figures = page_opens_offline(folder / "index.html")
    assert passed, figures
    page = (folder / "index.html").read_text()
    assert "<title>ProxyAno ablation report</title>" in page
    assert "tiles beside their proxies" in page
    bench.make("final", 2.0)
    assert report("quick").data_version != made.data_version
