"""The job ``benchmark``: train and score every run of the benchmark that is missing, nothing else, then the report."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.baselines import missing
from assets.lane import LaneAssets
from pipeline.store.versions import Store
from pipeline.wiring.benchmark import Due, make, run
from pipeline.wiring.resources import StoreResource

REPORT = "benchmark_report"


def due(lanes: Sequence[LaneAssets], store: Store) -> list[Due]:
    """Every run that is missing or stands on what is no longer current: first seeds first, the form off last."""
    found = [
        ((bool(lane.source), lane.lane.baselines[name].seed), Due(dataset=lane.dataset.name, name=name, stages=stages))
        for lane in lanes
        for name, stages in missing(lane, store).items()
    ]
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def prepare(lanes: Sequence[LaneAssets]) -> None:
    """Make tiles and proxies of the lanes where they are missing or stale."""
    for lane in lanes:
        run("pipeline.cli", "refresh", "--select", f"*{lane.key('proxies').to_user_string()}")


def report() -> None:
    """Make the report anew from what stands."""
    run("dagster", "asset", "materialize", "-m", "pipeline.definitions", "--select", REPORT)


def benchmark_job(lanes: Sequence[LaneAssets], logs: Path) -> dg.JobDefinition:
    """The job for the pages; ``proxyano benchmark`` is the same for a terminal."""

    @dg.op(
        name="make_missing",
        config_schema={"workers": dg.Field(int, default_value=1, description="runs made side by side")},
        description="Trains and scores each missing run in a process of its own; those that stand are left alone.",
    )
    def op(context: dg.OpExecutionContext, store: StoreResource) -> None:
        prepare(lanes)
        wanted = due(lanes, store.open())
        context.log.info(f"{len(wanted)} of {sum(len(lane.lane.baselines) for lane in lanes)} runs are to be made")
        failed = []
        for number, made in enumerate(make(wanted, logs, workers=context.op_config["workers"]), start=1):
            word = "FAILED, see" if made.failed else "made, printed to"
            context.log.info(f"{number}/{len(wanted)} {made.due.title}: {word} {made.log} ({made.seconds:.0f} s)")
            failed += [made.due.title] if made.failed else []
        report()
        if failed:
            raise dg.Failure(f"{len(failed)} runs failed: {', '.join(failed)}; the report names them as not run")

    @dg.job(name="benchmark", description="Every method on every data set that has not been run yet, and the report.")
    def job() -> None:
        op()

    return job
