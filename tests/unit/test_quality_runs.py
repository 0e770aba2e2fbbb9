"""The quality report keeps the runs that were not made again."""

import json
from pathlib import Path

import pytest

from benchmarks.quality_runs import earlier, place, run_key, stage_minutes


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
