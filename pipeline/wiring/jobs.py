"""Jobs named for what people do."""

from typing import Any

import dagster as dg


def jobs(datasets: list[str]) -> list[Any]:
    """``prepare`` (images to proxies), ``train`` (both stages), ``evaluate`` (evaluations, detectors, report)."""
    stages = {
        "prepare": ("images", "tiles", "proxies"),
        "train": ("stage1", "stage2", "members"),
        "evaluate": ("evaluation", "detector"),
    }
    report = {"evaluate": [dg.AssetKey("evaluation_report")]}
    described = {
        "prepare": "Raw files to tiles and proxies, for every data set.",
        "train": "Both stages of the method and the second method, for every data set.",
        "evaluate": "Evaluations of every data set, detectors for new images, and the report.",
    }
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(
                *(dg.AssetKey([dataset, stage]) for dataset in datasets for stage in wanted), *report.get(name, [])
            ),
            description=described[name],
        )
        for name, wanted in stages.items()
    ]
