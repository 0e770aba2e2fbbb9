"""Dagster's internal resolver, which one file uses: this fails when a new Dagster moves or changes it."""

import dagster as dg
import pytest

from pipeline.wiring.refresh import statuses

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of observable sources
SOURCE, FIRST, SECOND = dg.AssetKey("source"), dg.AssetKey("first"), dg.AssetKey("second")


def definitions(code: str = "1", content: str = "a") -> dg.Definitions:
    @dg.observable_source_asset(key=SOURCE)
    def source() -> dg.DataVersion:
        raise NotImplementedError("seen by events only")

    @dg.asset(key=FIRST, deps=[SOURCE], code_version=code)
    def first() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content))

    @dg.asset(key=SECOND, deps=[FIRST], code_version="1")
    def second() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("b"))

    return dg.Definitions(assets=[source, first, second])


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        see(instance, "raw 1")
        yield instance


def see(instance: dg.DagsterInstance, version: str) -> None:
    instance.report_runless_asset_event(dg.AssetObservation(SOURCE, tags={"dagster/data_version": version}))


def make(instance: dg.DagsterInstance, definitions: dg.Definitions, *keys: dg.AssetKey) -> None:
    assert dg.materialize(
        list(definitions.assets), instance=instance, selection=dg.AssetSelection.assets(*keys)
    ).success


def told(instance: dg.DagsterInstance, definitions: dg.Definitions) -> dict[str, tuple[str, tuple[str, ...]]]:
    found = statuses(definitions, instance, [FIRST, SECOND], lambda key, version: None)
    return {key.to_user_string(): (status.status, status.causes) for key, status in found.items()}


def test_nothing_made_is_missing(instance):
    missing = ("missing", ("never materialized",))
    assert told(instance, definitions()) == {"first": missing, "second": missing}


def test_fresh_then_stale_by_data_one_step_down_only(instance):
    make(instance, definitions(), FIRST, SECOND)
    fresh = ("up to date", ())
    assert told(instance, definitions()) == {"first": fresh, "second": fresh}
    see(instance, "raw 2")
    stale = ("outdated", ("has a new dependency data version: source",))
    assert told(instance, definitions()) == {"first": stale, "second": fresh}


def test_stale_by_code_and_early_cut_off(instance):
    make(instance, definitions(), FIRST, SECOND)
    newer = definitions(code="2")
    assert told(instance, newer)["first"] == ("outdated", ("has a new code version",))
    make(instance, newer, FIRST)
    assert told(instance, newer)["second"] == ("up to date", ())
    changed = definitions(code="3", content="other")
    make(instance, changed, FIRST)
    assert told(instance, changed)["second"] == ("outdated", ("has a new dependency data version: first",))


def test_what_the_store_does_not_hold_is_missing(instance):
    make(instance, definitions(), FIRST, SECOND)
    found = statuses(
        definitions(), instance, [FIRST, SECOND], lambda key, version: f"no {version}" if key == SECOND else None
    )
    assert (found[FIRST].status, found[SECOND].status) == ("up to date", "missing")
    assert found[SECOND].causes == ("no b",)
