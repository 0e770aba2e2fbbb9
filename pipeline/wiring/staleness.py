"""What is outdated and why, as Dagster reports it; the only file that uses Dagster's internal resolver.

Dagster's only public interface to the stale status of an asset is its web server. This is the resolver behind that
server, so the command line and the pages agree. `tests/graph/test_staleness.py` fails if it moves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCause, StaleStatus
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._time import get_current_datetime

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
    return {key: _status(key, resolver, absent) for key in keys}


def _status(key: dg.AssetKey, resolver: CachingStaleStatusResolver, absent: Absent) -> Status:
    status = resolver.get_status(key)
    if status == StaleStatus.MISSING:
        return Status("missing", ("never materialized",))
    if status == StaleStatus.STALE:
        return Status("outdated", tuple(_text(cause, key) for cause in resolver.get_stale_causes(key)))
    why = absent(key, resolver.get_current_data_version(key).value)
    return Status("up to date") if why is None else Status("missing", (why,))


def _text(cause: StaleCause, key: dg.AssetKey) -> str:
    """Dagster's description of a cause, with the dependency it is about."""
    other = cause.dependency_asset_key
    return cause.reason if other in (None, key) else f"{cause.reason}: {other.to_user_string()}"
