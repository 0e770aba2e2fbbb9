"""Materialize what is outdated and nothing else, wave by wave; after each wave Dagster is asked again.

Staleness in Dagster looks one step up only. So a wave holds the stale assets with no stale asset above them, and what
depends on an unchanged result stays fresh (early cut-off). Only this file uses Dagster's internal resolver of the stale
status, whose only public interface is the web server; `tests/graph/test_staleness.py` fails if it moves.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import TypeVar
from uuid import uuid4

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCause, StaleStatus
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._time import get_current_datetime

from pipeline.errors import ConfigError
from pipeline.store.provenance import unreadable
from pipeline.store.survey import survey
from pipeline.store.versions import Store
from pipeline.wiring.adopt import adopt
from pipeline.wiring.resources import DATA_VERSION, RawResource, StoreResource, observe
from pipeline.wiring.runs import REFRESH, close_dead

_INTERRUPTS = (DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)
Absent = Callable[[dg.AssetKey, str], str | None]
"""Asset and the data version Dagster knows → why the store does not hold it, or None if it does."""


@dataclass(frozen=True)
class Status:
    """Status of one asset; `causes` is empty if it is up to date."""

    status: str  # up to date | outdated | missing
    causes: tuple[str, ...] = ()

    @property
    def fresh(self) -> bool:
        """Whether there is nothing to do."""
        return self.status == "up to date"


def statuses(
    definitions: dg.Definitions, instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], absent: Absent
) -> Mapping[dg.AssetKey, Status]:
    """Current status of the assets. It is not transitive: what depends on an outdated asset may still be up to date."""
    graph = definitions.resolve_asset_graph()
    now = TemporalContext(effective_dt=get_current_datetime(), last_event_id=None)
    view = AssetGraphView(temporal_context=now, instance=instance, asset_graph=graph)
    resolver = CachingStaleStatusResolver(instance=instance, asset_graph=graph, loading_context=view)

    def status_of(key: dg.AssetKey) -> Status:
        status = resolver.get_status(key)
        if status == StaleStatus.MISSING:
            return Status("missing", ("never materialized",))
        if status == StaleStatus.STALE:
            return Status("outdated", tuple(_text(cause, key) for cause in resolver.get_stale_causes(key)))
        why = absent(key, resolver.get_current_data_version(key).value)
        return Status("up to date") if why is None else Status("missing", (why,))

    return {key: status_of(key) for key in keys}


def _text(cause: StaleCause, key: dg.AssetKey) -> str:
    """Dagster's description of a cause, with the dependency that it is about."""
    other = cause.dependency_asset_key
    if other is None or other == key or other.to_user_string() in cause.reason:
        return cause.reason
    return f"{cause.reason}: {other.to_user_string()}"


def tell_errors(result: dg.ExecuteInProcessResult) -> None:
    """Print what failed, of a failure in one sentence only that; an interrupt, which Dagster keeps, goes on."""
    every = [(event, getattr(event.event_specific_data, "error", None)) for event in result.all_events]
    if any(error.cls_name in _INTERRUPTS for _, error in every if error):
        raise KeyboardInterrupt
    steps = [(event, error) for event, error in every if event.is_step_failure]
    for event, error in steps or every:  # a run can fail outside its steps
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            said = failure.description if failure else event.step_failure_data.error_display_string
            sys.stderr.write(f"{str(event.node_name).replace('__', '/')} failed: {said}\n")
        elif error:
            sys.stderr.write(f"the run failed: {error.to_string()}\n")


Wave = Mapping[dg.AssetKey, Status]
_Resource = TypeVar("_Resource")
MOST_RUNS = 3  # of one asset within a refresh: more means that its inputs change all the time


@dataclass(frozen=True)
class Ran:
    """An asset that a refresh ran."""

    why: tuple[str, ...]
    seconds: float
    before: str | None  # data versions
    after: str | None
    failed: bool = False


@dataclass
class Outcome:
    """What a refresh did with each selected asset."""

    selected: Sequence[dg.AssetKey]
    ran: dict[dg.AssetKey, Ran] = field(default_factory=dict)
    blocked: dict[dg.AssetKey, dg.AssetKey] = field(default_factory=dict)  # asset → the failed one above it
    removed: Sequence[str] = ()  # damaged files of bookkeeping, with the reason
    waves: int = 0
    seconds: float = 0.0

    @property
    def skipped(self) -> list[dg.AssetKey]:
        """Assets that were fresh."""
        return [key for key in self.selected if key not in self.ran and key not in self.blocked]

    @property
    def failed(self) -> list[dg.AssetKey]:
        """Assets whose run failed."""
        return [key for key, ran in self.ran.items() if ran.failed]


@dataclass(frozen=True)
class Refresh:
    """A selection of assets on an instance."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    selection: str

    def selected(self) -> list[dg.AssetKey]:
        """Assets in topological order, without partitioned ones and what depends on them, which have commands."""
        graph = self.definitions.resolve_asset_graph()
        try:
            chosen = dg.AssetSelection.from_string(self.selection).resolve(graph)
        except dg.DagsterError as error:
            raise ConfigError(
                _unknown(self.selection, [key.to_user_string() for key in graph.get_all_asset_keys()])
            ) from error
        partitioned = dg.AssetSelection.assets(*(node.key for node in graph.asset_nodes if node.is_partitioned))
        wanted = (chosen & graph.materializable_asset_keys) - partitioned.downstream().resolve(graph)
        return [key for key in graph.toposorted_asset_keys if key in wanted]

    def due(self) -> Wave:
        """Selected assets that are not fresh, in topological order; looks at the raw folders first."""
        observe(self.instance, self._resource(RawResource), self.selected())
        if self._resource(StoreResource).remote:
            adopt(self.definitions, self.instance, self.store, self.selected())
        found = statuses(self.definitions, self.instance, self.selected(), self._absent)
        return {key: status for key, status in found.items() if not status.fresh}

    def above(self, key: dg.AssetKey) -> set[dg.AssetKey]:
        """Direct and indirect dependencies of an asset."""
        upstream = dg.AssetSelection.assets(key).upstream(include_self=False)
        return set(upstream.resolve(self.definitions.resolve_asset_graph()))

    @property
    def store(self) -> Store:
        """The store of the definitions."""
        return self._resource(StoreResource).open()

    @cached_property
    def damaged(self) -> dict[str, str]:
        """Selected asset → what of its current version is damaged, by the hashes of all files."""
        return survey(self.store, self.store.here(key.to_user_string() for key in self.selected())).damaged

    def run(self, announce: Callable[[int, Wave, int], None]) -> Outcome:
        """Materialize wave by wave; ``announce`` gets the wave's number, its assets and how many may follow.

        A failed asset blocks what depends on it; everything else goes on.
        """
        close_dead(self.instance)
        outcome, started, name = Outcome(self.selected()), time.monotonic(), uuid4().hex
        self.store.share()
        broken = unreadable(self.store.root)
        for path in broken:
            path.unlink()
        outcome.removed = tuple(broken.values())
        times: dict[dg.AssetKey, int] = {}
        while wave := self._wave(self.due(), outcome):
            for key in wave:
                times[key] = times.get(key, 0) + 1
                if times[key] > MOST_RUNS:
                    raise RuntimeError(
                        f"{key.to_user_string()} is outdated again after {MOST_RUNS} runs "
                        f"({'; '.join(wave[key].causes)}): its inputs keep changing; stop that, then refresh again"
                    )
            outcome.waves += 1
            following = {key for key in outcome.selected if self.above(key) & wave.keys()} - wave.keys()
            announce(outcome.waves, wave, len(following))
            self._materialize(wave, outcome, name)
            self.store.release()  # the lock of the wave's last asset
        for key in outcome.skipped:  # their dependencies could not be made, so they may be outdated
            if causes := sorted(self.above(key) & set(outcome.failed)):
                outcome.blocked[key] = causes[0]
        outcome.seconds = time.monotonic() - started
        return outcome

    def _wave(self, due: Wave, outcome: Outcome) -> Wave:
        """The due assets with none above them due; records those below a failed asset as blocked."""
        failed, wave = set(outcome.failed), {}
        for key, status in due.items():
            above = self.above(key)
            if causes := sorted(above & failed):
                outcome.blocked[key] = causes[0]
            elif key not in failed and not above & due.keys():
                wave[key] = status
        return wave

    def _materialize(self, wave: Wave, outcome: Outcome, name: str) -> None:
        before = {key: self._version(key) for key in wave}
        result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=list(wave),
            raise_on_error=False,
            tags={REFRESH: name},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        vars(sys).pop("tracebacklimit", None)  # of a failure in one sentence; other runs follow in this process
        tell_errors(result)
        made = {event.asset_key for event in result.get_asset_materialization_events()}
        spent = {
            dg.AssetKey(event.node_name.split("__")): event.step_success_data.duration_ms / 1000
            for event in result.all_events
            if event.is_step_success and event.node_name
        }
        for key, status in wave.items():
            if key in made:
                self.damaged.pop(key.to_user_string(), None)
            earlier = outcome.ran.get(key)
            outcome.ran[key] = Ran(
                why=status.causes,
                seconds=spent.get(key, 0.0) + (earlier.seconds if earlier else 0.0),
                before=earlier.before if earlier else before[key],
                after=self._version(key),
                failed=key not in made,
            )

    def _version(self, key: dg.AssetKey) -> str | None:
        event = self.instance.get_latest_materialization_event(key)
        materialization = event.asset_materialization if event else None
        return (materialization.tags or {}).get(DATA_VERSION) if materialization else None

    def _resource(self, kind: type[_Resource]) -> _Resource:
        return next(value for value in (self.definitions.resources or {}).values() if isinstance(value, kind))

    def _absent(self, key: dg.AssetKey, data_version: str) -> str | None:
        """Why the store does not hold the version that Dagster knows, whole and with provenance; None if it does."""
        asset = key.to_user_string()
        if asset in self.damaged:
            return self.damaged[asset]
        if (current := self.store.pointed(asset)) is None:
            return "its version is gone from the store"
        if current != data_version:
            return "the store has another version than Dagster knows"
        return None if self.store.provenance(asset, current) else "its provenance is gone from the store"


def _unknown(selection: str, names: Sequence[str]) -> str:
    """What is wrong with a selection that Dagster refuses, and names that it may mean."""
    near = get_close_matches(selection.strip("*+ "), names, n=3, cutoff=0.5) or ["*evaluation_report", "*oct/detector"]
    return f"--select {selection!r} names no asset. Did you mean {' or '.join(near)}? See also: dagster asset list"
