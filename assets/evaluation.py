"""``<dataset>/evaluation``: the method, its controls and shortcuts on test images, with intervals."""

import json
from typing import Any

import dagster as dg
import pandas as pd

from assets.charts import score_chart
from assets.lane import LaneAssets, flat
from assets.materialize import check_result, picture
from assets.tables import tabled
from pipeline.evaluation.checks import reconstructs, scores_complete
from pipeline.evaluation.evaluate import evaluate_lane
from pipeline.evaluation.reconstruction import LEVEL
from pipeline.evaluation.records import Record, find
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.scoreboard import LaneInputs
from pipeline.store.versions import Store, Version
from pipeline.wiring.resources import StoreResource, TrackerResource
from pipeline.wiring.tracking import Tracker

STAGES = ("images", "tiles", "proxies", "stage1", "stage2", "members")
SHOWN = ("auroc", "auroc_heldout", "ap", "auroc_minus_null")


def evaluation_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Evaluation of one lane."""

    @dg.asset(
        **lane.declare("evaluation", kinds={"scikitlearn", "parquet"}, checks=("scores_complete", "reconstructs")),
        ins={stage: lane.into(stage) for stage in STAGES},
        description="Image and pixel scores, metrics with 95 % intervals, controls and shortcuts, pictures of cases.",
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        images: Version,
        tiles: Version,
        proxies: Version,
        stage1: Version,
        stage2: Version,
        members: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        inputs = LaneInputs(
            dataset=lane.dataset,
            images=images,
            tiles=tiles,
            proxies=proxies,
            trained=(stage1, stage2),
            members=members,
        )
        versions = [images, tiles, proxies, stage1, stage2, members]

        def build(run: Any) -> Version:
            made = evaluate_lane(
                inputs,
                lane.lane.evaluation,
                store.open(),
                preset=lane.preset,
                method=lane.lane.training.method,
                seed=lane.seed,
                code_version=lane.code_version("evaluation"),
                facts=_facts(lane, versions, store.open(), tracker.open()),
            )
            run.artifact(made.path, "evaluation")
            return made

        return lane.run(
            context,
            "evaluation",
            tracker=tracker.open(),
            store=store.open(),
            inputs=versions,
            parameters=flat(lane.lane.evaluation)
            | flat({stage: lane.lane.of_stage(stage) for stage in STAGES if stage != "stage1"})
            | {"preset": lane.preset, "seed": lane.seed},
            build=build,
            describe=lambda version: describe_evaluation(version, lane.lane.training.method),
            checks=lambda version: [
                check_result("scores_complete", scores_complete(version, tiles)),
                check_result("reconstructs", reconstructs(version), severity=dg.AssetCheckSeverity.WARN),
            ],
        )

    return evaluation


def _facts(lane: LaneAssets, versions: list[Version], store: Store, tracker: Tracker) -> dict[str, Any]:
    """Minutes, memory and run links of the versions the evaluation stands on; they are no part of its data version."""
    notes = {version.asset.rpartition("/")[2]: store.noted(version) for version in versions}
    links = {}
    for version in versions:
        run_id = tracker.find(lane.dataset.name, version)
        if run_id is not None:
            links[version.asset.rpartition("/")[2]] = tracker.url(lane.dataset.name, run_id)
    return {
        "config": flat({stage: lane.lane.of_stage(stage) for stage in (*STAGES, "evaluation")}),
        "minutes": {stage: note["minutes"] for stage, note in notes.items() if note},
        "peak_memory_gib": max((note["peak_gib"] for note in notes.values() if note), default=None),
        "mlflow": links,
    }


def fidelity_name(record: Record) -> str:
    """MLflow's name of what the method does: ``reconstruction_r2_wide_validation_normals``."""
    return f"{record['metric']}_{record['score']}_{record['subset']}".replace(" ", "_")


def describe_evaluation(version: Version, method: str) -> dict[str, Any]:
    """What an evaluation shows in the pages; the method's own figures are MLflow metrics of one name for all."""
    lane = load_evaluation(version.path)
    records = pd.DataFrame(lane.records)
    key = records[(records["subset"] == "all") & records["metric"].isin(SHOWN) & (records["score"] != "value")]
    own = [r for r in lane.records if r["method"] == method and r["subset"] == "all" and r["value"] is not None]
    described: dict[str, Any] = {f"{r['level']}_{r['metric']}_{r['score']}": float(r["value"]) for r in own}
    described |= {fidelity_name(r): float(r["value"]) for r in find(lane.records, level=LEVEL, method=method)}
    table = key[["method", "level", "score", "metric", "value", "low", "high", "n"]].round(4)
    described["results"] = dg.MetadataValue.md(table.to_markdown(index=False))
    described["quarantined"] = len(lane.about("quarantine"))
    described["counts"] = dg.MetadataValue.json(json.loads(json.dumps(lane.about("counts"))))
    described["preview"] = picture(score_chart(lane.records), caption="image AUROC with 95 % intervals")
    described |= tabled(lane.scores)
    for panel in lane.panels[:2]:
        described[panel.file.removesuffix(".png")] = picture(panel.png, caption=panel.caption)
    return described
