"""``<dataset>/detector``: the trained method frozen with its calibration, for images nobody has labelled."""

import json
from typing import Any

import dagster as dg

from assets.charts import calibration_chart
from assets.lane import LaneAssets
from assets.materialize import picture
from pipeline.detectors.frozen.freeze import DESCRIPTION, freeze_detector
from pipeline.store.versions import Version
from pipeline.wiring.registry import Standing, register
from pipeline.wiring.resources import StoreResource, TrackerResource


def detector_asset(lane: LaneAssets) -> dg.AssetsDefinition:
    """Detector of one lane."""

    @dg.asset(
        **lane.declare("detector", kinds={"pytorch"}),
        ins={stage: lane.into(stage) for stage in ("tiles", "stage2", "evaluation")},
        description="The trained method, the statistics of its validation normals and the calibration in one folder: "
        "what `proxyano score`, `load_detector` and the served model run. Registered in MLflow; the evaluation "
        "decides whether it becomes champion.",
    )
    def detector(
        context: dg.AssetExecutionContext,
        tiles: Version,
        stage2: Version,
        evaluation: Version,
        store: StoreResource,
        tracker: TrackerResource,
    ) -> dg.MaterializeResult:
        return lane.run(
            context,
            "detector",
            tracker=tracker.open(),
            store=store.open(),
            inputs=[tiles, stage2, evaluation],
            build=lambda run: freeze_detector(
                lane.dataset,
                tiles,
                stage2,
                lane.lane.evaluation.scores,
                store.open(),
                flip_average=lane.lane.evaluation.flip_average,
                form=lane.lane.tiles.form,
                preset=lane.preset,
                code_version=lane.code_version("detector"),
            ),
            describe=_describe,
            register=lambda version, run_id: _standing(
                register(tracker.open(), store.open(), version, evaluation, run_id)
            ),
        )

    return detector


def _describe(version: Version) -> dict[str, Any]:
    scores = json.loads((version.path / DESCRIPTION).read_text())["images"]
    caption = "share of normal validation images that score at least as high"
    return {
        "preview": picture(calibration_chart(scores), caption=caption),
        "calibrated_on": len(scores),
        "canvases": dg.MetadataValue.json(version.meta["canvases"]),
    }


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "model": standing.name,
        "model_version": standing.number,
        "champion": standing.champion,
        "promotion": standing.why,
    }
