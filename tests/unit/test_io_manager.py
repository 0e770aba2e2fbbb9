"""What assets hand to each other: published versions, and one sentence where there is none."""

import sys

import dagster as dg
import pytest

from pipeline.store.versions import Store, Version
from pipeline.wiring.resources import VersionIOManager


@pytest.fixture(autouse=True)
def traceback_limit(monkeypatch):
    """The failure shortens tracebacks of its process; not those of the test session."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)


@pytest.fixture
def published(tmp_path):
    store = Store(tmp_path)
    work = store.work("oct/tiles", "k")
    (work / "a.txt").write_text("a")
    return store.publish("oct/tiles", work, "a" * 16, {"tiles": 1})


def test_an_output_becomes_the_current_version_and_the_next_input(tmp_path, published):
    manager = VersionIOManager(root=str(tmp_path))
    key = dg.AssetKey(["oct", "tiles"])
    manager.handle_output(dg.build_output_context(asset_key=key), published)
    assert Store(tmp_path).current("oct/tiles") == published
    assert manager.load_input(dg.build_input_context(asset_key=key)) == published


def test_a_version_of_another_asset_is_refused(tmp_path, published):
    manager = VersionIOManager(root=str(tmp_path))
    other = Version(asset="idrid/tiles", path=published.path, data_version="a" * 16, meta={})
    with pytest.raises(dg.DagsterInvariantViolationError, match="oct/tiles handed over a version of idrid/tiles"):
        manager.handle_output(dg.build_output_context(asset_key=dg.AssetKey(["oct", "tiles"])), other)


def test_a_damaged_input_is_named_in_one_sentence(tmp_path, published):
    manager = VersionIOManager(root=str(tmp_path))
    Store(tmp_path).point(published)
    (published.path / "a.txt").write_text("b")
    with pytest.raises(dg.Failure) as caught:
        manager.load_input(dg.build_input_context(asset_key=dg.AssetKey(["oct", "tiles"])))
    assert f"{published.path / 'a.txt'} is damaged" in str(caught.value.description)


def test_a_missing_input_names_the_line_to_run(tmp_path):
    manager = VersionIOManager(root=str(tmp_path))
    with pytest.raises(dg.Failure) as caught:
        manager.load_input(dg.build_input_context(asset_key=dg.AssetKey(["oct", "stage1"])))
    line = "proxyano refresh --select '*oct/stage1'"
    assert caught.value.description == f"oct/stage1 has never been materialized; run: {line}"
    assert caught.value.allow_retries is False
