"""What is stale and why, as Dagster tells it, and the only file that uses Dagster's internal resolver.

Dagster has no public interface for the stale status of an asset besides its web server; the resolver here is the one
behind that server, so the command line and the pages never disagree. `tests/graph/test_staleness.py` fails when it
moves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCause, StaleStatus
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._time import get_current_datetime

Held = Callable[[dg.AssetKey, str], str | None]
"""Asset and the data version Dagster knows → why the store does not hold it, or None where it does."""


@dataclass(frozen=True)
class Standing:
    """One asset's status; `causes` is empty for a fresh one."""

    status: str  # FRESH | STALE | MISSING
    causes: tuple[str, ...]

    @property
    def fresh(self) -> bool:
        """Nothing to do."""
        return self.status == "FRESH"


def standings(
    definitions: dg.Definitions, instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey], held: Held
) -> Mapping[dg.AssetKey, Standing]:
    """Status of the assets, asked anew; not transitive: what follows a stale one may still be spared."""
    graph = definitions.resolve_asset_graph()
    now = TemporalContext(effective_dt=get_current_datetime(), last_event_id=None)
    view = AssetGraphView(temporal_context=now, instance=instance, asset_graph=graph)
    resolver = CachingStaleStatusResolver(instance=instance, asset_graph=graph, loading_context=view)
    return {key: _standing(key, resolver, held) for key in keys}


def _standing(key: dg.AssetKey, resolver: CachingStaleStatusResolver, held: Held) -> Standing:
    status = resolver.get_status(key)
    if status == StaleStatus.MISSING:
        return Standing("MISSING", ("never materialized",))
    if status == StaleStatus.STALE:
        return Standing("STALE", tuple(_told(cause, key) for cause in resolver.get_stale_causes(key)))
    absent = held(key, resolver.get_current_data_version(key).value)
    return Standing("FRESH", ()) if absent is None else Standing("MISSING", (absent,))


def _told(cause: StaleCause, key: dg.AssetKey) -> str:
    """Dagster's words for one cause, with the dependency it names."""
    other = cause.dependency_asset_key
    return cause.reason if other in (None, key) else f"{cause.reason}: {other.to_user_string()}"
