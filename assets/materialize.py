"""Materialize one asset: build it inside a tracked run, record its provenance, run its checks, collect its metadata."""

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from pipeline.errors import ProxyAnoError
from pipeline.store.provenance import Provenance, RawInput
from pipeline.store.versions import Store, Version
from pipeline.wiring.origin import Origin
from pipeline.wiring.runs import git_commit, metered, one_sentence

if TYPE_CHECKING:
    from pipeline.wiring.tracking import StageRun, Tracker

Described = dict[str, Any]


def materialize(
    context: dg.AssetExecutionContext,
    tracker: "Tracker",
    store: Store,
    origin: Origin,
    *,
    inputs: Collection[Version],
    parameters: Mapping[str, Any],
    build: "Callable[[StageRun], Version]",
    describe: Callable[[Version], Described],
    checks: Callable[[Version], Sequence[dg.AssetCheckResult]],
    artifact: str = "",
    register: Callable[[Version, str], Described] = lambda version, run_id: {},
) -> dg.MaterializeResult:
    """Build one version; its metadata holds versions, counts, a picture and the link to the MLflow run.

    The asset's build lock is held after the return, until this thread locks another asset or calls ``release()``: the
    pointer that the IO manager moves and Dagster's event follow. ``build`` may add to ``inputs``; ``artifact`` is the
    MLflow run's folder for a copy of the version; ``register`` gets the version and the run's id.
    """
    holder = {"dagster_run": context.run.run_id, "inputs": {each.asset: each.data_version for each in inputs}}
    store.lock(origin.asset, holder, warn=context.log.warning)
    try:
        with tracker.stage(origin, parameters=parameters, inputs=inputs) as run:
            with metered() as figures:
                version = build(run)
            noted = store.note(version, figures)
            described = describe(version)
            numbers = {key: value for key, value in (described | noted).items() if isinstance(value, int | float)}
            run_id = run.result(version, numbers, artifact)
        record = provenance(origin, inputs, run_id, run.raw)
        store.record_provenance(version, record)
        described |= register(version, run_id)
        outcomes = list(checks(version))
    except BaseException as error:
        store.release()
        if isinstance(error, ProxyAnoError):
            raise one_sentence(str(error)) from None
        raise
    shown = {key: _rounded(value) for key, value in described.items()}
    metadata = {  # pictures come first
        **dict(sorted(shown.items(), key=lambda entry: not str(getattr(entry[1], "value", "")).startswith("!["))),
        "data_version": version.data_version,
        "path": dg.MetadataValue.path(version.path),
        "minutes": _rounded(float(noted["minutes"])),
        "peak_gib": _rounded(float(noted["peak_gib"])),
        "inputs": dg.MetadataValue.json(record.inputs),
        "code_version": record.code_version,
        "git_commit": record.git_commit,
        "mlflow_run_id": record.mlflow_run,
        "mlflow_run": dg.MetadataValue.url(tracker.url(origin.dataset, run_id)),
    }
    data_version = dg.DataVersion(version.data_version)
    return dg.MaterializeResult(value=version, data_version=data_version, metadata=metadata, check_results=outcomes)


def _rounded(value: Any) -> Any:
    """A figure as pages show it; MLflow keeps all digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def provenance(origin: Origin, inputs: Collection[Version], run_id: str, raw: RawInput | None = None) -> Provenance:
    """What a version was made from: inputs, code and runs."""
    return Provenance(
        inputs={version.asset: version.data_version for version in inputs},
        raw=raw,
        code_version=origin.code_version,
        git_commit=git_commit(),
        dagster_run=origin.dagster_run,
        mlflow_run=run_id,
        preset=origin.preset,
        seed=origin.seed,
    )


def picture(png: bytes, *, caption: str) -> dg.MarkdownMetadataValue:
    """A PNG as Dagster metadata, shown in the pages."""
    return dg.MetadataValue.md(f"![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})")


def check_result(
    name: str, outcome: tuple[bool, Mapping[str, Any]], severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    """Outcome of a plain check function as Dagster's result."""
    passed, metadata = outcome
    return dg.AssetCheckResult(check_name=name, passed=bool(passed), metadata=dict(metadata), severity=severity)
