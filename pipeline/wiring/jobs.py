"""Jobs for what people do: prepare, train, evaluate."""

from typing import Any

import dagster as dg

JOBS = {
    "prepare": (("images", "tiles", "proxies", "normals"), "Raw files to tiles and proxies, for every data set."),
    "train": (("stage1", "stage2", "members"), "The method and its committee's members, for every data set."),
    "evaluate": (
        ("detector", "evaluation"),
        "Detectors and evaluations of every data set, and the report.",
    ),
}
"""Job → its stages in every lane, and its description."""


def jobs(datasets: list[str]) -> list[Any]:
    """The jobs over all data sets; ``evaluate`` makes the report too."""
    made = []
    for name, (stages, description) in JOBS.items():
        keys = [dg.AssetKey([dataset, stage]) for dataset in datasets for stage in stages]
        keys += [dg.AssetKey("evaluation_report")] if name == "evaluate" else []
        made.append(dg.define_asset_job(name, selection=dg.AssetSelection.assets(*keys), description=description))
    return made
