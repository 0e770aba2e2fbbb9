"""Increments make only what changed, and give what a full rebuild gives."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.typing import NDArray

from pipeline.store import increments as increments_module
from pipeline.store.versions import Store
from pipeline.tiles.proxy_kinds import ProxyConfig
from tests.unit.increment_lane import COUNT, Lane, built_lane, check

pytestmark = pytest.mark.slow


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    return built_lane(tmp_path, monkeypatch)


def test_nothing_changed_but_the_splits_makes_nothing(lane: Lane) -> None:
    before = Store(lane.root / "store").current("eyes/tiles")
    lane.splits = {"30": "val", "40": "val"}
    tiles, _ = check(lane, cuts=0, painted=0)
    assert tiles.data_version != before.data_version
    index = pd.read_parquet(tiles.path / "index.parquet")
    assert index["split"].tolist() == ["train"] * 6 + ["val"] * 2 + ["train"] * 8


def test_one_changed_image_is_made_alone_and_its_shard_only(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    whole = increments_module.write_rows

    def noting(array: "zarr.Array[object]", start: int, block: NDArray[np.uint8]) -> None:
        written.append(start)
        whole(array, start, block)

    lane.draw("20", 99)
    monkeypatch.setattr(increments_module, "write_rows", noting)
    lane.tiles(Store(lane.root / "store"))
    assert set(written) == {4}
    monkeypatch.undo()
    assert lane.form.cuts == 1


@pytest.mark.parametrize(
    ("name", "seed", "cuts"), [("20", 99, 1), ("35", 98, 1), ("00", 97, 1), ("80", 96, 1), ("99", 95, 1)]
)
def test_one_image_changed_or_added(lane: Lane, name: str, seed: int, cuts: int) -> None:
    lane.draw(name, seed)
    check(lane, cuts=cuts, painted=2 * cuts)


@pytest.mark.parametrize("names", [["00"], ["30"], ["80"], ["40"], ["20", "50", "60"]])
def test_removed_images_take_their_tiles_with_them(lane: Lane, names: list[str]) -> None:
    for name in names:
        for file in lane.raw.glob(f"{name}*.png"):
            file.unlink()
    tiles, _ = check(lane, cuts=0, painted=0)
    kept = COUNT - 1 - len(set(names) - {"40"})
    assert tiles.meta["tiles"] == 2 * kept


def test_renamed_images_are_known_by_content_in_any_order(lane: Lane) -> None:
    for number in range(COUNT):
        for file in lane.raw.glob(f"{number}0*.png"):
            file.rename(file.with_name(f"new{(5 * number) % COUNT}{file.name[2:]}"))
    tiles, _ = check(lane, cuts=0, painted=0)
    quarantine = pd.read_parquet(tiles.path / "quarantine.parquet")
    assert quarantine["path"].tolist() == ["new2.png"]


def test_a_changed_mask_recuts_its_image(lane: Lane) -> None:
    lane.mark("20", "HE", 50)
    check(lane, cuts=1, painted=0)


def test_a_mask_that_shows_another_lesion_recuts_its_image(lane: Lane) -> None:
    (lane.raw / "20_HE.png").rename(lane.raw / "20_MA.png")
    check(lane, cuts=1, painted=0)


def test_an_image_becomes_refused_and_another_usable(lane: Lane) -> None:
    lane.draw("30", 99, refused=True)
    lane.draw("40", 98)
    tiles, _ = check(lane, cuts=2, painted=2)
    assert pd.read_parquet(tiles.path / "quarantine.parquet")["path"].tolist() == ["30.png"]


def test_a_refused_image_stays_refused_without_being_tried(lane: Lane) -> None:
    reason = pd.read_parquet(Store(lane.root / "store").current("eyes/tiles").path / "quarantine.parquet")["reason"][0]
    (lane.raw / "40.png").rename(lane.raw / "45.png")
    lane.draw("10", 98)
    tiles, _ = check(lane, cuts=1, painted=2)
    expected = [{"path": "45.png", "reason": reason}]
    assert pd.read_parquet(tiles.path / "quarantine.parquet").to_dict("records") == expected


def test_a_file_that_could_not_be_read_is_tried_again(lane: Lane) -> None:
    store = Store(lane.root / "store")
    lane.draw("10", 98)
    images = lane.images()
    hidden = (lane.raw / "10.png").rename(lane.root / "hidden.png")
    lane.images = lambda: images  # type: ignore[method-assign]
    store.point(lane.tiles(store))
    assert store.current("eyes/tiles").meta["quarantined"] == 2
    hidden.rename(lane.raw / "10.png")
    del lane.images  # type: ignore[method-assign]
    lane.draw("35", 97)
    check(lane, cuts=2, painted=4)


def test_another_recipe_makes_everything_anew(lane: Lane) -> None:
    lane.code = "2"
    lane.draw("10", 98)
    check(lane, cuts=COUNT, painted=16)


def test_a_raised_form_version_cuts_everything_anew(lane: Lane) -> None:
    lane.form.version = 2
    tiles = lane.tiles(Store(lane.root / "store"))
    assert lane.form.cuts == COUNT
    assert len(lane.proxies(tiles, Store(lane.root / "store")).data_version) == 32
    assert not lane.painted


def test_another_proxy_configuration_makes_all_proxies_anew(lane: Lane) -> None:
    store = Store(lane.root / "store")
    lane.proxies(store.current("eyes/tiles"), store, ProxyConfig(segments=30, iterations=1))
    assert len(lane.painted) == 16


def test_the_log_says_how_much_was_made(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    lane.draw("10", 98)
    with caplog.at_level(logging.INFO):
        lane.both(Store(lane.root / "store"))
    assert "eyes/tiles: cut 1 of 9 images; the others are copied from" in caplog.text
    assert "eyes/proxies: 2 of 16 tiles; the others are copied from" in caplog.text
