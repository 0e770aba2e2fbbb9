"""Dagster's internals, which one file uses: this fails when a new Dagster moves or changes them."""

import os
import signal

import dagster as dg
import pytest

from pipeline.wiring.refresh import statuses, tell_errors
from pipeline.wiring.runs import one_sentence

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
    quiet = {"telemetry": {"enabled": False}}  # else the first use of a new home prints a welcome
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=quiet) as instance:
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


def materialized(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return dg.materialize(assets, instance=instance, raise_on_error=False, run_config=quiet)


def test_a_failure_in_one_sentence_is_printed_alone_and_a_mistake_with_its_place(instance, capsys, monkeypatch):
    monkeypatch.setattr("sys.tracebacklimit", 1000, raising=False)

    @dg.asset(key_prefix="oct")
    def tiles() -> None:
        raise one_sentence("oct/images 12: /a is damaged; run: proxyano refresh")

    @dg.asset
    def report() -> None:
        raise ValueError("odd")

    tell_errors(materialized(instance, tiles))
    assert capsys.readouterr().err == "oct/tiles failed: oct/images 12: /a is damaged; run: proxyano refresh\n"
    monkeypatch.setattr("sys.tracebacklimit", 1000)
    tell_errors(materialized(instance, report))
    told = capsys.readouterr().err
    assert told.startswith("report failed: ")
    assert "ValueError: odd" in told
    assert "test_staleness.py" in told


def test_an_interrupt_goes_on_though_dagster_keeps_it(instance, capsys):
    @dg.asset
    def tiles() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    result = materialized(instance, tiles)
    with pytest.raises(KeyboardInterrupt):
        tell_errors(result)
    assert capsys.readouterr().err == ""
