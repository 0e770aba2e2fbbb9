"""The frame every asset shares: run the step, track it in MLflow, hand over the version with what people look at."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline.steps.meter import Meter
from pipeline.steps.store import Store, Version
from pipeline.wiring.tracking import Origin, StageRun, Tracker

Build = Callable[[StageRun], Version]
Described = dict[str, Any]


def materialize(
    context: dg.AssetExecutionContext,
    tracker: Tracker,
    store: Store,
    origin: Origin,
    *,
    inputs: Sequence[Version],
    parameters: Mapping[str, Any],
    build: Build,
    describe: Callable[[Version], Described],
    checks: Callable[[Version], Sequence[dg.AssetCheckResult]] = lambda version: (),
) -> dg.MaterializeResult:
    """Build one version inside a tracked run; metadata carries versions, counts, picture and the run's link."""
    with tracker.stage(origin, parameters=parameters, inputs=inputs) as run:
        with Meter() as meter:
            version = build(run)
        noted = store.note(version, meter.as_meta())
        described = describe(version)
        numbers = {key: value for key, value in (described | noted).items() if isinstance(value, int | float)}
        run_id = run.result(version, numbers)
    context.instance.add_run_tags(context.run_id, {f"mlflow/{origin.dataset}.{origin.stage}": run_id})
    url = tracker.url(origin.dataset, run_id)
    return dg.MaterializeResult(
        value=version,
        data_version=dg.DataVersion(version.data_version),
        metadata={
            **described,
            "data_version": version.data_version,
            "path": dg.MetadataValue.path(version.path),
            "minutes": float(noted["minutes"]),
            "peak_gib": float(noted["peak_gib"]),
            "mlflow_run_id": run_id,
            "mlflow_run": dg.MetadataValue.url(url),
        },
        check_results=list(checks(version)),
    )


def picture(png: bytes, *, caption: str) -> dg.MarkdownMetadataValue:
    """A PNG as Dagster metadata that shows in the UI."""
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})")


def check_result(name: str, outcome: tuple[bool, Mapping[str, Any]]) -> dg.AssetCheckResult:
    """One of the steps' plain check functions as Dagster's."""
    passed, metadata = outcome
    return dg.AssetCheckResult(check_name=name, passed=bool(passed), metadata=dict(metadata))
