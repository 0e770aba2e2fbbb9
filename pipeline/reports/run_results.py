"""What ``results.json`` takes from the benchmark, the ablations and disturbed test images, beside the evaluations."""

import json
from collections.abc import Iterator
from typing import Any

from pipeline.evaluation.records import Record
from pipeline.evaluation.score_name import METHOD, kind_of
from pipeline.reports.ablations.report import ASSET as ABLATION_REPORT
from pipeline.reports.benchmark.report import ASSET as BENCHMARK_REPORT
from pipeline.reports.benchmark.report import LANE_OWN
from pipeline.reports.kit.publish import CLAIMS
from pipeline.store.versions import Store, Version

LANES, BENCHMARK, ABLATIONS, ROBUSTNESS = PARTS = ("lanes", "benchmark", "ablations", "robustness")
"""Where a result comes from, in the order in which ``proxyano reproduce`` makes them."""
REPORTS = {BENCHMARK: BENCHMARK_REPORT, ABLATIONS: ABLATION_REPORT}
STAGES = {BENCHMARK: ("baseline_evaluations", "baselines"), ABLATIONS: ("ablations",)}  # that a run's minutes count
METRICS = ("auroc", "ap")  # of all images; reports show the others


def run_rows(store: Store, part: str, split: int) -> Iterator[dict[str, Any]]:
    """Records of every run in the newest report, with part, split, commit, minutes and command."""
    report = _current(store, REPORTS[part])
    for record in [] if report is None else _read(report, "report.json"):
        own = kind_of(record["method"]) == METHOD and record["method"] != LANE_OWN
        if own and record["subset"] == "all" and record["metric"] in METRICS:
            name = f"{record['method']}-seed{record['seed']}" if record["seed"] else record["method"]
            runs = [_current(store, f"{record['dataset']}/{stage}/{name}") for stage in STAGES[part]]
            minutes = sum(float(store.noted(run).get("minutes", 0.0)) for run in runs if run)
            yield record | _tail(store, runs[0], record, part) | {"split": split, "minutes": minutes}


def robustness_rows(store: Store, dataset: str, split: int) -> Iterator[dict[str, Any]]:
    """Records of the current detector on disturbed images; none where another detector was measured."""
    measured, detector = (_current(store, f"{dataset}/{stage}") for stage in (ROBUSTNESS, "detector"))
    if measured is None or detector is None:
        return
    provenance = store.provenance(measured.asset, measured.data_version)
    if provenance is None or provenance.inputs.get(detector.asset) != detector.data_version:
        return
    minutes = float(store.noted(measured).get("minutes", 0.0))
    for record in _read(measured, "records.json"):
        yield record | _tail(store, measured, record, ROBUSTNESS) | {"split": split, "minutes": minutes}


def read_claims(store: Store, part: str) -> list[dict[str, Any]]:
    """The paper's claims as the newest report judged them, with commit and command."""
    report = _current(store, REPORTS[part])
    if report is None:
        return []
    provenance = store.provenance(report.asset, report.data_version)
    commit = "unknown" if provenance is None else provenance.git_commit
    preset = "" if provenance is None else f"PROXYANO_PRESET={provenance.preset} "
    command = f"{preset}proxyano reproduce --part {part}"
    return [{**claim, "part": part, "commit": commit, "command": command} for claim in _read(report, CLAIMS)]


def _tail(store: Store, version: Version | None, record: Record, part: str) -> dict[str, Any]:
    provenance = None if version is None else store.provenance(version.asset, version.data_version)
    return {
        "part": part,
        "pretrained": False,
        "commit": "unknown" if provenance is None else provenance.git_commit,
        "command": f"PROXYANO_PRESET={record['preset']} proxyano reproduce --part {part} --seeds",
    }


def _current(store: Store, asset: str) -> Version | None:
    return None if store.pointed(asset) is None else store.current(asset)


def _read(version: Version, name: str) -> list[dict[str, Any]]:
    file = version.path / name
    return list(json.loads(file.read_text())) if file.is_file() else []
