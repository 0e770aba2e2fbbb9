"""One data set's lane under the current preset, its stages as rows of data, and what makes a Dagster asset of a row.

``assets/stages.py`` holds the rows; the factory treats every stage alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.materialize import Described, check_result, materialize
from pipeline.data.datasets import Dataset
from pipeline.data.raw import RawFolder
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.evaluation.audit import reviewed
from pipeline.experiments.lane import Baseline, Lane
from pipeline.forms import FORMS
from pipeline.processes import ONE, Processes
from pipeline.reports.kit.words import flat, shown_title
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.proxy_kinds import TITLES
from pipeline.wiring.automation import WHEN_CHANGED
from pipeline.wiring.origin import Origin
from pipeline.wiring.resources import RawResource
from pipeline.wiring.runs import REFRESH

if TYPE_CHECKING:
    from pipeline.wiring.tracking import StageRun, Tracker

OWNERS = ["team:proxyano"]
SEEDED = ("stage1", "stage2", "members", "detector", "evaluation")  # stages whose result depends on PROXYANO_SEED
BENCHMARK = ("baselines", "baseline_evaluations")  # stages with a partition for each run of the benchmark
ABLATIONS = "ablations"  # stage with a partition for each ablation experiment
VERSION = dg.PythonObjectDagsterType(Version, name="Version", description="One published version in the store.")


@dataclass(frozen=True, kw_only=True)
class LaneAssets:
    """A data set with its configuration from the current preset."""

    dataset: Dataset
    lane: Lane
    preset: str
    seed: int
    scheduler: str | None = None  # address of a dask scheduler
    processes: Processes = ONE  # of trainings
    source: str = ""  # data set whose images the lane uses; empty: its own
    drawn: bool = False  # whether its images are those of the built-in sample

    @property
    def raw_name(self) -> str:
        """The data set whose raw files and images the lane uses."""
        return self.source or self.dataset.name

    @property
    def title(self) -> str:
        """The data set's title; of drawn images one that says so."""
        return shown_title(self.dataset.title, drawn=self.drawn)

    @property
    def proxy(self) -> str:
        """The kind of proxy and its parameters, for people."""
        config = self.lane.proxies
        values = [f"{name} {value}" for name, value in config.to_json().items() if name != "kind"]
        return ", ".join([TITLES[config.kind], *values])

    def key(self, stage: str) -> dg.AssetKey:
        """``<dataset>/<stage>``."""
        return dg.AssetKey([self.raw_name if stage in ("download", "images") else self.dataset.name, stage])

    def runs(self, stage: str) -> Mapping[str, Baseline]:
        """Runs of a partitioned stage by name; empty for other stages."""
        if stage == ABLATIONS:
            return self.lane.ablations
        return self.lane.baselines if stage in BENCHMARK else {}

    def stored(self, stage: str, name: str = "") -> str:
        """The store's name of a stage, or of one run of a partitioned stage."""
        asset = self.key(stage).to_user_string()
        return f"{asset}/{name}" if name in self.runs(stage) else asset

    def code_version(self, stage: str, name: str = "") -> str:
        """Code version of a stage, or of one run: from the preset, the data set, the form and the seed."""
        if name:
            return self.lane.baseline_version(stage, name)
        parts = [self.lane.code_version(stage)]
        parts += [fingerprint(*self.dataset.decides)] if stage == "images" else []
        parts += [str(FORMS[self.lane.tiles.form].version)] if stage in ("tiles", "detector") else []
        parts += [f"seed{self.seed}"] if stage in SEEDED else []
        parts += [fingerprint(reviewed(self.raw_name))] if stage == "evaluation" else []
        return "-".join(parts)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One materialization of a stage, which the functions of its row get."""

    lane: LaneAssets
    origin: Origin  # stage, store asset, code version, seed, method, and the run's name in ``entry``
    inputs: dict[str, Version]  # stage → version; a build may replace and add what it uses
    store: Store
    tracker: "Tracker"
    context: dg.AssetExecutionContext

    @property
    def row(self) -> Baseline:
        """Configuration of the run of the benchmark or the ablations; ``KeyError`` for a stage without runs."""
        return self.lane.runs(self.origin.stage)[self.origin.entry]

    @property
    def raw(self) -> RawResource:
        """The raw files of all data sets, for stages with the resource ``raw``."""
        found: RawResource = self.context.resources.raw
        return found

    @property
    def folder(self) -> RawFolder:
        """The raw files of the lane's images."""
        return self.raw.folder(self.lane.raw_name)


def _origin(lane: LaneAssets, stage: str, name: str, context: dg.AssetExecutionContext) -> Origin:
    run = lane.runs(stage)[name] if name else None
    plan = run.training if run else lane.lane.training
    return Origin(
        dataset=lane.dataset.name,
        stage=stage,
        asset=lane.stored(stage, name),
        dagster_run=context.run.run_id,
        refresh=context.run.tags.get(REFRESH, ""),
        code_version=lane.code_version(stage, name),
        preset=lane.preset,
        seed=run.seed if run else lane.seed,
        method=plan.method if run or stage in SEEDED else "",
        entry=name,
    )


def stage_parameters(task: Task) -> dict[str, Any]:
    """The stage's configuration, or the run's, as MLflow parameters."""
    lane = task.lane
    if not task.origin.entry:
        return flat(lane.lane.of_stage(task.origin.stage)) | {"preset": lane.preset, "seed": lane.seed}
    plan = task.row.training
    first = next(iter(plan.canvases.values()))
    steps = sum(config.steps for config in first.stages.values())
    about = {"method": plan.method, "seed": task.row.seed, "preset": lane.preset, "steps": steps}
    plans = {stage: plan.of_stage(stage) for stage in plan.stages}
    return about | flat(plans) | flat({"scores": lane.lane.evaluation.scores})


@dataclass(frozen=True)
class Check:
    """An asset check: a function that gives whether it passed, and figures to show; its docstring describes it."""

    function: Callable[..., tuple[bool, Mapping[str, Any]]]
    arguments: Callable[[Task, Version], tuple[Any, ...]]
    _: KW_ONLY
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    applies: Callable[[LaneAssets], object] = lambda lane: True

    def spec(self, asset: dg.AssetKey) -> dg.AssetCheckSpec:
        """What Dagster's pages show of it."""
        about = (self.function.__doc__ or "").partition("\n")[0]
        return dg.AssetCheckSpec(name=self.function.__name__, asset=asset, description=about)

    def result(self, task: Task, version: Version) -> dg.AssetCheckResult:
        """Run it on a version."""
        return check_result(self.function.__name__, self.function(*self.arguments(task, version)), self.severity)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of every lane: what it reads, makes, checks and shows."""

    name: str
    description: str  # with fields of ``lane`` in braces
    kinds: tuple[str, ...]
    build: "Callable[[Task, StageRun], Version]"
    describe: Callable[[Task, Version], Described]
    reads: tuple[str, ...] = ()  # stages whose current versions are loaded
    deps: tuple[str, ...] = ()  # stages it depends on without loading a version
    resources: tuple[str, ...] = ()  # besides store and tracker
    checks: tuple[Check, ...] = ()
    by_itself: bool = True  # whether `dagster dev` makes it when something above it has changed
    artifact: str = ""  # MLflow folder that gets a copy of the version; empty: none
    parameters: Callable[[Task], dict[str, Any]] = stage_parameters
    register: Callable[[Task, Version, str], Described] = lambda task, version, run_id: {}


def stage_asset(lane: LaneAssets, stage: Stage) -> dg.AssetsDefinition:
    """The asset of one stage of one lane; nothing starts one with runs, or of a lane that has the images of another.

    A stage with runs has a partition for each, and no pool, so that they can be made side by side.
    """
    key, runs = lane.key(stage.name), lane.runs(stage.name)
    checks = [check for check in stage.checks if check.applies(lane)]

    @dg.asset(
        key=key,
        group_name=lane.dataset.name,
        owners=OWNERS,
        kinds=set(stage.kinds),
        description=stage.description.format(lane=lane),
        ins={
            other: dg.AssetIn(key=lane.key(other), input_manager_key="versions", dagster_type=VERSION)
            for other in stage.reads
        },
        deps=[lane.key(other) for other in stage.deps],
        required_resource_keys={"store", "tracker", *stage.resources},
        io_manager_key="versions",
        dagster_type=VERSION,
        code_version=lane.code_version(stage.name),
        automation_condition=WHEN_CHANGED if stage.by_itself and not (runs or lane.source) else None,
        partitions_def=dg.StaticPartitionsDefinition(list(runs)) if runs else None,
        pool=None if runs else "_".join(key.path),
        check_specs=[check.spec(key) for check in checks],
    )
    def made(context: dg.AssetExecutionContext, **inputs: Version) -> dg.MaterializeResult:
        task = Task(
            lane=lane,
            origin=_origin(lane, stage.name, context.partition_key if runs else "", context),
            inputs={other: inputs[other] for other in stage.reads},
            store=context.resources.store.open(),
            tracker=context.resources.tracker.open(),
            context=context,
        )
        return materialize(
            context,
            task.tracker,
            task.store,
            task.origin,
            inputs=task.inputs.values(),
            parameters=stage.parameters(task),
            build=lambda run: stage.build(task, run),
            describe=lambda version: stage.describe(task, version),
            checks=lambda version: [check.result(task, version) for check in checks],
            artifact=stage.artifact,
            register=lambda version, run_id: stage.register(task, version, run_id),
        )

    return made


def up_to_date(lane: LaneAssets, stage: Stage, store: Store, name: str) -> bool:
    """True if the stored run is up to date with its inputs, code and configuration."""
    try:
        held = store.current(lane.stored(stage.name, name))
        current = [store.current(lane.stored(other, name)) for other in stage.reads]
    except (NeverMaterialized, StoreCorrupt):
        return False
    origin = store.provenance(held.asset, held.data_version)
    return (
        origin is not None
        and origin.code_version == lane.code_version(stage.name, name)
        # an ablation that uses its own proxies has not recorded the lane's
        and all(origin.inputs.get(v.asset, v.data_version) == v.data_version for v in current)
    )
