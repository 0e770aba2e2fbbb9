"""Detection quality over seeds and splits: run what the report of `benchmarks.quality_report` is made of.

    PROXYANO_RAW=… PROXYANO_PRESET=quick python -m benchmarks.quality brain_mri oct idrid

Brain MRI: the whole lane on split 0, then on three more group splits the committee with the controls, and the method
alone. OCT and IDRiD, whose splits are fixed: the whole lane
with seed 0, then the method alone (stages 1 and 2, no controls) with seeds 1 and 2 on the same tiles. Every data set
has a home of its own under `$PROXYANO_HOME/quality/`; what is made is kept, so the same command goes on after a cut,
and data sets can be run side by side. `runs.json` in it lists what was made, with minutes and peak memory.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.data.datasets import DATASETS
from pipeline.evaluation.committee import OWN
from pipeline.evaluation.evaluate import evaluate_lane
from pipeline.evaluation.scoreboard import LaneInputs
from pipeline.experiments.presets import PRESETS
from pipeline.store.versions import Store, Version
from pipeline.training import Training, train_method, train_stage
from pipeline.wiring.commit import git_commit
from pipeline.wiring.settings import Settings

WANTED: dict[str, list[tuple[str, int, int]]] = {
    "brain_mri": [
        ("lane", 0, 0),
        *((kind, split, split) for split in (1, 2, 3) for kind in ("committee", "method")),
    ],
    "oct": [("lane", 0, 0), ("method", 0, 1), ("method", 0, 2)],
    "idrid": [("lane", 0, 0), ("method", 0, 1), ("method", 0, 2)],
}
"""Data set → what is run, on which split, with which training seed."""


def refreshed(dataset: str, stage: str, home: Path, split: int) -> Version:
    """The lane up to a stage on one split, with the split's number as seed."""
    own = {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
    own |= {"PROXYANO_SPLIT_SEED": str(split), "PROXYANO_SEED": str(split)}
    command = [sys.executable, "-m", "pipeline.cli", "refresh", "--select", f"*{dataset}/{stage}"]
    subprocess.run(command, env=os.environ | own, check=True)
    return Store(home / "stores").current(f"{dataset}/{stage}")


def committee_alone(dataset: str, home: Path, preset: str, seed: int) -> Version:
    """The evaluation of a committee of one learned member and controls on the current tiles, without the lane's method.

    The member takes the method's place, so the committee is the lane's own.
    """
    row, store = PRESETS[preset].lanes[dataset], Store(home / "stores")
    images, tiles, proxies = (store.current(f"{dataset}/{stage}") for stage in ("images", "tiles", "proxies"))
    ((name, plan),) = row.members.items()
    training = Training(
        asset=f"{dataset}/splits/{name}",
        tiles=tiles,
        proxies=proxies,
        plan=plan,
        seed=seed,
        code_version=row.code_version("members"),
        log=lambda *_: None,
    )
    weights = {OWN if member == name else member: weight for member, weight in row.evaluation.committee.items()}
    scores = {canvas: row.evaluation.member_scores.get(name, usual) for canvas, usual in row.evaluation.scores.items()}
    return evaluate_lane(
        LaneInputs(
            dataset=DATASETS[dataset],
            images=images,
            tiles=tiles,
            proxies=proxies,
            trained=(train_method(training, store),),
        ),
        replace(row.evaluation, scores=scores, committee=weights),
        store,
        preset=preset,
        method=plan.method,
        seed=seed,
        code_version=row.code_version("evaluation"),
        facts={},
        asset=f"{dataset}/splits/evaluation",
    )


def method_alone(dataset: str, home: Path, preset: str, seed: int) -> Version:
    """The evaluation of the method with another seed on the tiles of the lane, without controls and members."""
    row, store = PRESETS[preset].lanes[dataset], Store(home / "stores")
    images, tiles, proxies = (store.current(f"{dataset}/{stage}") for stage in ("images", "tiles", "proxies"))
    trained: list[Version] = []
    for stage in ("stage1", "stage2"):
        training = Training(
            asset=f"{dataset}/seeds/{stage}",
            tiles=tiles,
            proxies=proxies,
            plan=row.training,
            seed=seed,
            code_version=row.code_version(stage),
            log=lambda *_: None,
        )
        trained.append(train_stage(stage, trained[-1] if trained else None, training, store))
    return evaluate_lane(
        LaneInputs(dataset=DATASETS[dataset], images=images, tiles=tiles, proxies=proxies, trained=tuple(trained)),
        replace(row.evaluation, controls=(), committee={}),
        store,
        preset=preset,
        method=row.training.method,
        seed=seed,
        code_version=row.code_version("evaluation"),
        facts={},
        asset=f"{dataset}/seeds/evaluation",
    )


def noted(kind: str, dataset: str, split: int, seed: int, version: Version, began: float) -> dict[str, Any]:
    """A row of ``runs.json``; memory is the largest of this process or of those it started."""
    usage = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in usage) / 2**20
    return {
        "kind": kind,
        "dataset": dataset,
        "split": split,
        "seed": seed,
        "folder": str(version.path),
        "data_version": version.data_version,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "peak_gib": round(peak, 2),
        "commit": git_commit(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }


def main() -> None:
    """Run the named data sets (all where none is named) and keep ``runs.json`` up to date."""
    settings = Settings()
    for dataset in sys.argv[1:] or WANTED:
        home = settings.home / "quality" / dataset
        home.mkdir(parents=True, exist_ok=True)
        path, rows = home / "runs.json", []
        if path.exists():
            rows = json.loads(path.read_text())
        known = {(row["kind"], row["split"], row["seed"]): row for row in rows}
        for kind, split, seed in WANTED[dataset]:
            began = time.monotonic()
            version = refreshed(dataset, "evaluation" if kind == "lane" else "proxies", home, split)
            if kind != "lane":
                alone = method_alone if kind == "method" else committee_alone
                version = alone(dataset, home, settings.preset_name, seed)
            row = noted(kind, dataset, split, seed, version, began)
            before = known.get((kind, split, seed))
            if before is None or before["data_version"] != row["data_version"]:
                known[kind, split, seed] = row
            path.write_text(json.dumps(list(known.values()), indent=1) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
