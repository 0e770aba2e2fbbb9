"""The quality report keeps the runs that were not made again."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality_runs import FITTED, bounds, earlier, fitted_on_test, place, run_key, stage_minutes
from models.metrics import auroc
from pipeline.evaluation.records import without_shortcuts


def written(folder: Path, counts: dict[tuple[str, int], int]) -> None:
    rows = [
        {"dataset": "oct", "kind": kind, "split": 0, "seed": seed, "stages": 1.5, "records": count}
        for (kind, seed), count in counts.items()
    ]
    (folder / "runs.json").write_text(json.dumps(rows))


def test_records_come_back_run_by_run(tmp_path: Path) -> None:
    assert earlier(tmp_path) == {}
    written(tmp_path, {("lane", 0): 2, ("method", 1): 1})
    (tmp_path / "report.json").write_text(json.dumps([{"value": value} for value in (0.1, 0.2, 0.3)]))
    found = earlier(tmp_path)
    assert sorted(found, key=place) == [("oct", "lane", 0, 0), ("oct", "method", 0, 1)]
    for key, (row, records) in found.items():
        assert run_key(row) == key
        assert stage_minutes(row) == 1.5
        assert set(records["kind"]) == {key[1]}
        assert set(records["split_seed"]) == {0}
    assert [list(records["value"]) for _, records in found.values()] == [[0.1, 0.2], [0.3]]


def test_a_list_that_does_not_fit_the_report_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {("lane", 0): 2})
    (tmp_path / "report.json").write_text(json.dumps([{"value": 0.1}] * 3))
    with pytest.raises(SystemExit, match=r"names 2 records, report\.json has 3"):
        earlier(tmp_path)


HEAD = {"dataset": "brain_mri", "preset": "quick", "seed": 0, "data_version": "one"}


def scores_of(rng: np.random.Generator) -> pd.DataFrame:
    """Two scores that each see half of an anomaly and share their noise; the committee and a shortcut see nothing."""
    splits, labels = np.repeat(["val", "holdout", "test"], [40, 10, 120]), np.r_[np.zeros(50), np.tile([0, 1], 60)]
    shared, table = rng.normal(size=170), pd.DataFrame({"split": splits, "label": labels.astype(int), "klass": labels})
    table = table.assign(image_id=[str(row) for row in range(170)], group=np.arange(170))
    table["a:standardised"], table["b:standardised"] = shared + labels, rng.normal(0, 0.1, 170) - shared
    table["committee:standardised"], table["shortcut_size:value"] = rng.normal(size=170), rng.normal(size=170)
    return table


def test_weights_fitted_on_the_test_undo_what_the_scores_share() -> None:
    table = scores_of(np.random.default_rng(0))
    fitted = fitted_on_test(table)
    assert fitted is not None
    test = table["split"] == "test"
    found = auroc(table["label"][test].to_numpy() == 1, fitted[FITTED][test].to_numpy())
    assert found > 0.999 > 0.9 > auroc(table["label"][test].to_numpy() == 1, table["a:standardised"][test].to_numpy())
    records = bounds(table, HEAD)
    assert list(records["metric"]) == ["auroc", "auroc_adjusted"]
    assert set(records["method"]) == {"fitted_on_test"}
    assert records["value"].iloc[0] == pytest.approx(found)
    without = fitted_on_test(without_shortcuts(table))
    assert without is not None
    truth = table["label"][test].to_numpy() == 1
    assert records["value"].iloc[1] == pytest.approx(auroc(truth, without[FITTED][test].to_numpy()))


@pytest.mark.parametrize("lack", ["classes", "scores"])
def test_no_bound_without_two_classes_and_two_scores(lack: str) -> None:
    table = scores_of(np.random.default_rng(0))
    table = table[table["label"] == 0] if lack == "classes" else table.drop(columns="b:standardised")
    assert fitted_on_test(table) is None
    assert bounds(table, HEAD).empty
