"""What runs by itself once switched on: conditions evaluated tick by tick as Dagster's daemon does."""

import dagster as dg
import pytest

from pipeline.data.datasets import DATASETS
from pipeline.definitions import build
from pipeline.wiring.automation import SENSORS
from pipeline.wiring.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of sources in a selection
TURNS = [{stage} for stage in ("images", "tiles", "proxies", "normals")]
TURNS += [{"stage1", "members"}, {"stage2"}, {"detector"}, {"evaluation"}]
"""What runs at each tick after a lane's raw folder has changed."""
LANE = [stage for turn in TURNS for stage in sorted(turn)]


class Clock:
    """The real definitions on an instance of their own; what is requested is made by an event before the next tick."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.definitions, self.cursor = instance, build(Settings()), None

    def see(self, dataset: str, version: str) -> None:
        key = dg.AssetKey([dataset, "download"])
        self.instance.report_runless_asset_event(dg.AssetObservation(key, tags={"dagster/data_version": version}))

    def make(self, asset: str, version: str) -> None:
        key = dg.AssetKey(asset.split("/"))
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, tags={"dagster/data_version": version}))

    def tick(self) -> set[str]:
        """Assets that the daemon would run now."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        keys = self.definitions.resolve_asset_graph().materializable_asset_keys
        return {key.to_user_string() for key in keys if result.get_num_requested(key)}


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """All lanes made once, and a first look."""
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path / "home"))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        clock = Clock(instance)
        for dataset in DATASETS:
            clock.see(dataset, "a")
            for stage in LANE:
                clock.make(f"{dataset}/{stage}", "a")
        clock.make("evaluation_report", "a")
        assert clock.tick() == set()
        yield clock


def test_a_changed_raw_folder_re_makes_its_lane_in_order_and_each_asset_once(clock):
    clock.see("oct", "b")
    for turn in TURNS:
        assert clock.tick() == {f"oct/{stage}" for stage in turn}
        for stage in turn:
            clock.make(f"oct/{stage}", "b")
    assert clock.tick() == {"evaluation_report"}
    clock.make("evaluation_report", "b")
    assert clock.tick() == set()


def test_unchanged_content_ends_it(clock):
    clock.see("oct", "b")
    assert clock.tick() == {"oct/images"}
    clock.make("oct/images", "a")
    assert clock.tick() == set()


def test_the_same_content_seen_again_starts_nothing(clock):
    clock.see("oct", "a")
    assert clock.tick() == set()


def test_everything_is_off_until_switched_on():
    assert {sensor.name for sensor in SENSORS} == {"raw_folders", "lanes"}
    assert all(sensor.default_status == dg.DefaultSensorStatus.STOPPED for sensor in SENSORS)
