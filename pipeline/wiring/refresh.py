"""Re-make what is stale and nothing else, wave by wave: after each wave Dagster is asked anew.

Staleness in Dagster looks one step up only. An asset behind a stale one may turn stale or not, depending on whether
the content above it really changes; so a wave holds the stale assets with no stale asset above them, and an unchanged
result ends the matter there (early cut-off).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

import dagster as dg

from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.store.versions import Store
from pipeline.wiring.resources import RawResource, StoreResource, observe
from pipeline.wiring.runs import REFRESH, close_dead
from pipeline.wiring.staleness import Standing, standings

Keys = Sequence[dg.AssetKey]
_Resource = TypeVar("_Resource")
RUNS_AT_MOST = 3  # of one asset within a refresh: more means that its inputs change all the time


@dataclass(frozen=True)
class Ran:
    """What became of an asset that a refresh ran."""

    why: tuple[str, ...]
    seconds: float
    before: str | None  # data versions
    after: str | None
    failed: bool = False


@dataclass
class Outcome:
    """What a refresh did, asset by asset."""

    selected: Keys
    ran: dict[dg.AssetKey, Ran] = field(default_factory=dict)
    blocked: dict[dg.AssetKey, dg.AssetKey] = field(default_factory=dict)  # asset → the failed one above it
    waves: int = 0
    seconds: float = 0.0

    @property
    def spared(self) -> Keys:
        """Selected assets that nothing had to be done for."""
        return [key for key in self.selected if key not in self.ran and key not in self.blocked]

    @property
    def failed(self) -> Keys:
        """Assets whose run failed."""
        return [key for key, ran in self.ran.items() if ran.failed]


@dataclass(frozen=True)
class Refresh:
    """One look at a set of definitions on an instance."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    selection: str

    def selected(self) -> Keys:
        """The assets of the selection that can be materialized, from raw files to reports.

        Partitioned ones are left out, and so is what stands on them: the benchmark has a command of its own.
        """
        graph = self.definitions.resolve_asset_graph()
        chosen = dg.AssetSelection.from_string(self.selection).resolve(graph)
        apart = dg.AssetSelection.assets(*(node.key for node in graph.asset_nodes if node.is_partitioned)).downstream()
        wanted = (chosen & graph.materializable_asset_keys) - apart.resolve(graph)
        return [key for key in graph.toposorted_asset_keys if key in wanted]

    def due(self) -> dict[dg.AssetKey, Standing]:
        """Selected assets that are not fresh, in the order they can be made in; looks at the raw folders first."""
        observe(self.instance, self._resource(RawResource))
        store = self.store
        wanted = self.selected()
        found = standings(self.definitions, self.instance, wanted, lambda key, version: _held(store, key, version))
        return {key: found[key] for key in wanted if not found[key].fresh}

    def above(self, key: dg.AssetKey) -> set[dg.AssetKey]:
        """Every asset that this one depends on, directly or not."""
        upstream = dg.AssetSelection.assets(key).upstream(include_self=False)
        return set(upstream.resolve(self.definitions.resolve_asset_graph()))

    @property
    def store(self) -> Store:
        """Where the versions lie."""
        return self._resource(StoreResource).open()

    def run(self, announce: Callable[[int, Mapping[dg.AssetKey, Standing], int], None]) -> Outcome:
        """Materialize wave by wave; ``announce`` gets the wave's number, its assets and how many may follow.

        A failed asset blocks what stands below it; everything else goes on.
        """
        close_dead(self.instance)
        outcome, started, name = Outcome(self.selected()), time.monotonic(), uuid4().hex
        times: dict[dg.AssetKey, int] = {}
        while wave := self._wave(self.due(), outcome):
            for key in wave:
                times[key] = times.get(key, 0) + 1
                if times[key] > RUNS_AT_MOST:
                    raise RuntimeError(
                        f"{key.to_user_string()} is stale again after {RUNS_AT_MOST} runs "
                        f"({'; '.join(wave[key].causes)}): its inputs change all the time; stop that, refresh again"
                    )
            outcome.waves += 1
            following = {key for key in self.selected() if self.above(key) & set(wave)} - set(wave)
            announce(outcome.waves, wave, len(following))
            self._materialize(wave, outcome, name)
            self.store.release()  # the lock of the wave's last asset
        outcome.seconds = time.monotonic() - started
        return outcome

    def _wave(self, due: Mapping[dg.AssetKey, Standing], outcome: Outcome) -> dict[dg.AssetKey, Standing]:
        """The due assets with none above them due; those below a failed one are noted as blocked."""
        failed = set(outcome.failed)
        open_: dict[dg.AssetKey, Standing] = {}
        for key, standing in due.items():
            above = self.above(key)
            if cause := next(iter(sorted(above & failed)), None):
                outcome.blocked[key] = cause
            elif key not in failed and not above & due.keys():
                open_[key] = standing
        return open_

    def _materialize(self, wave: Mapping[dg.AssetKey, Standing], outcome: Outcome, name: str) -> None:
        before = {key: self._version(key) for key in wave}
        result = dg.materialize(
            list(self.definitions.assets or []),  # type: ignore[arg-type]
            resources=dict(self.definitions.resources or {}),
            instance=self.instance,
            selection=dg.AssetSelection.assets(*wave),
            raise_on_error=False,
            tags={REFRESH: name},
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )
        made = {event.asset_key for event in result.get_asset_materialization_events()}
        spent = _seconds(result)
        for key, standing in wave.items():
            earlier = outcome.ran.get(key)
            outcome.ran[key] = Ran(
                why=standing.causes,
                seconds=spent.get(key, 0.0) + (earlier.seconds if earlier else 0.0),
                before=earlier.before if earlier else before[key],
                after=self._version(key),
                failed=key not in made,
            )

    def _version(self, key: dg.AssetKey) -> str | None:
        event = self.instance.get_latest_materialization_event(key)
        materialization = event.asset_materialization if event else None
        return (materialization.tags or {}).get("dagster/data_version") if materialization else None

    def _resource(self, kind: type[_Resource]) -> _Resource:
        return next(value for value in (self.definitions.resources or {}).values() if isinstance(value, kind))


def _held(store: Store, key: dg.AssetKey, data_version: str) -> str | None:
    """Why the store does not hold what Dagster believes to be there; None where it does."""
    asset = key.to_user_string()
    try:
        current = store.current(asset).data_version
    except (NeverMaterialized, StoreCorrupt):
        return "its version is gone from the store"
    return None if current == data_version else "another version stands in the store than Dagster knows"


def _seconds(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, float]:
    """Seconds of each asset's step."""
    spent: dict[dg.AssetKey, float] = {}
    for event in result.all_events:
        if event.is_step_success and event.node_name:
            spent[dg.AssetKey(event.node_name.split("__"))] = event.step_success_data.duration_ms / 1000
    return spent
