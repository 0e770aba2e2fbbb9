"""Runs of the benchmark and of the ablations: which are outdated, and the job ``benchmark`` that makes those."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets.lane import BENCHMARK, LaneAssets
from assets.stage import up_to_date
from assets.stages import STAGES
from pipeline.store.versions import Store
from pipeline.wiring.benchmark import Due, make, run
from pipeline.wiring.resources import StoreResource

REPORT = "benchmark_report"


def due(lanes: Sequence[LaneAssets], store: Store, stages: Sequence[str] = BENCHMARK) -> list[Due]:
    """Runs with their stages from the first outdated one on: first seeds first, lanes with the form off last."""
    table = [stage for stage in STAGES if stage.name in stages]
    found = []
    for lane in lanes:
        for name, row in lane.runs(stages[0]).items():
            current = [up_to_date(lane, stage, store, name) for stage in table]
            if not all(current):
                outdated = tuple(stages[current.index(False) :])
                found.append((bool(lane.source), row.seed, Due(lane.dataset.name, name, outdated)))
    return [each for *_, each in sorted(found, key=lambda row: row[:2])]


def prepare(lanes: Sequence[LaneAssets]) -> None:
    """Make tiles and proxies of the lanes where they are missing or outdated."""
    for lane in lanes:
        run("pipeline.cli", "refresh", "--select", f"*{lane.key('proxies').to_user_string()}")


def report(name: str = REPORT) -> None:
    """Make a report from the runs that exist."""
    run("dagster", "asset", "materialize", "-m", "pipeline.definitions", "--select", name)


def benchmark_job(lanes: Sequence[LaneAssets], logs: Path) -> dg.JobDefinition:
    """The same as ``proxyano benchmark``, for Dagster's pages."""

    @dg.op(
        name="make_missing",
        config_schema={"workers": dg.Field(int, default_value=1, description="runs made side by side")},
        description="Trains and scores each missing run in its own process; runs that are up to date are skipped.",
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
