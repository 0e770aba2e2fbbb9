"""Increments: only what changed is made, and the result is what a full rebuild gives."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.typing import NDArray

from pipeline.data.raw import RawFolder
from pipeline.errors import StoreCorrupt, UnusableImage
from pipeline.forms.form import SCORED, TILE, SlotTile, TileTransform, slots
from pipeline.store import increments as increments_module
from pipeline.store.increments import FILE, Record
from pipeline.store.shards import create, open_array, rows_at, write_rows
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles import cutting as cutting_module
from pipeline.tiles import proxies as proxies_module
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig, build_tiles

pytestmark = pytest.mark.slow

COUNT = 9  # images, of two tiles each: 18 rows in shards of 4
PROXY = ProxyConfig(segments=20, iterations=1)


@dataclass(frozen=True)
class Eyes:
    """Stands for a row of DATASETS."""

    name: str = "eyes"
    lesions: tuple[str, ...] = ("MA", "HE")


class Counting:
    """A form of two single tiles that counts its cuts; refuses images whose corner is white."""

    name = "counting"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"left": (1, 1), "right": (1, 1)}
    neutral = 7

    def __init__(self) -> None:
        self.cuts = 0
        self.deadly = 0  # the cut that kills the process

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        self.cuts += 1
        if self.cuts == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if image[0, 0] == 255:
            raise UnusableImage(f"white corner, mean {image.mean():.1f}")
        validity = np.zeros((TILE, TILE), np.uint8)
        validity[: image.shape[0], : image.shape[1]] = SCORED
        tiles = []
        for number, slot in enumerate(slots(self.canvases)):
            pixels = np.zeros((TILE, TILE), np.uint8)
            pixels[: image.shape[0], : image.shape[1]] = image[:, :: 1 - 2 * number]
            lesions = np.zeros((len(masks), TILE, TILE), bool)
            for row, mask in enumerate(masks.values()):
                lesions[row, : mask.shape[0], : mask.shape[1]] = mask
            where = TileTransform(height=image.shape[0], width=image.shape[1], x0=1 / 3, dx=1, y0=0, dy=1)
            tile = SlotTile(slot=slot.name, pixels=pixels[None], validity=validity, lesions=lesions, transform=where)
            tiles.append(tile)
        return tuple(tiles)


@dataclass
class Lane:
    """A raw folder below ``root`` whose builds count what they make."""

    root: Path
    form: Counting = field(default_factory=Counting)
    code: str = "1"
    config: TilesConfig = field(default_factory=lambda: TilesConfig(form="counting", shard=4))
    splits: dict[str, str] = field(default_factory=dict)
    painted: list[int] = field(default_factory=list)

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    def draw(self, name: str, seed: int, *, refused: bool = False) -> None:
        image = np.random.default_rng(seed).integers(1, 255, (60, 48), dtype=np.uint8)
        if refused:
            image[0, 0] = 255
        self.raw.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(self.raw / f"{name}.png"), image)

    def mark(self, name: str, lesion: str, seed: int) -> None:
        """A lesion mask of an image."""
        mask = (np.random.default_rng(seed).random((60, 48)) > 0.8).astype(np.uint8) * 255
        cv2.imwrite(str(self.raw / f"{name}_{lesion}.png"), mask)

    def images(self) -> Version:
        """The manifest of what lies in the raw folder."""
        rows = []
        for file in sorted(self.raw.glob("*.png")):
            if "_" in file.stem:
                continue
            masks = {mask.stem.split("_")[1]: mask.name for mask in sorted(self.raw.glob(f"{file.stem}_*.png"))}
            marked = b"".join(hashlib.sha256((self.raw / mask).read_bytes()).digest() for mask in masks.values())
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            row = {"image_id": digest[:16], "path": file.name, "sha256": digest, "label": int(bool(masks))}
            row |= {"klass": "x" if masks else "normal", "group": f"g{file.stem}"}
            row |= {"split": self.splits.get(file.stem, "train"), "masks": json.dumps(masks)}
            row |= {"masks_sha256": hashlib.sha256(marked).hexdigest() if masks else ""}
            rows.append(row)
        version = fingerprint(rows)
        path = self.root / "images" / version
        path.mkdir(exist_ok=True, parents=True)
        pd.DataFrame(rows).astype({"label": "int8"}).to_parquet(path / "images.parquet")
        return Version(asset="eyes/images", path=path, data_version=version, meta={})

    def tiles(self, store: Store) -> Version:
        self.form.cuts = 0
        how = {"code_version": self.code, "workers": 2}
        raw = RawFolder(self.raw)
        return build_tiles(self.images(), raw, Eyes(), self.form, self.config, store, **how)  # type: ignore[arg-type]

    def proxies(self, tiles: Version, store: Store, config: ProxyConfig = PROXY) -> Version:
        self.painted.clear()
        return build_proxies(tiles, config, store, code_version=self.code, workers=2)

    def both(self, store: Store) -> tuple[Version, Version]:
        """Tiles and proxies, made the current ones."""
        tiles = self.tiles(store)
        store.point(tiles)
        proxies = self.proxies(tiles, store)
        store.point(proxies)
        return tiles, proxies


def content(version: Version) -> dict[str, bytes]:
    """Every file of a version, so all arrays, tables and the record, except the marker with its time."""
    files = [path for path in version.path.rglob("*") if path.is_file() and path.name != "COMPLETE.json"]
    return {path.relative_to(version.path).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    """Nine images, two with masks and one refused, already built into ``store``."""
    lane = Lane(tmp_path)
    for number in range(COUNT):
        lane.draw(f"{number}0", number, refused=number == 4)
    lane.mark("20", "HE", 1)
    lane.mark("60", "MA", 2)
    whole = proxies_module.proxy_of

    def counting(*arguments: object) -> NDArray[np.uint8]:
        lane.painted.append(1)
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(proxies_module, "proxy_of", counting)
    lane.both(Store(tmp_path / "store"))
    assert lane.form.cuts == COUNT
    assert len(lane.painted) == 16
    return lane


def check(lane: Lane, *, cuts: int, painted: int) -> tuple[Version, Version]:
    """An increment makes as many as said, and gives byte by byte what a full rebuild in a fresh store gives."""
    store = Store(lane.root / "store")
    tiles, proxies = lane.both(store)
    assert (lane.form.cuts, len(lane.painted)) == (cuts, painted)
    full = lane.both(Store(lane.root / "fresh"))
    rows = open_array(tiles.path, "pixels").shape[0]
    assert len(lane.painted) == rows
    for version, other in zip((tiles, proxies), full, strict=True):
        assert version.data_version == other.data_version
        assert version.meta == other.meta
        assert content(version) == content(other)
        store.verify(version)
    return tiles, proxies


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


@pytest.mark.parametrize(
    "config", [TilesConfig(form="counting", shard=8), TilesConfig(form="counting", shard=4, level=5)]
)
def test_rows_are_taken_over_into_another_storage_layout(lane: Lane, config: TilesConfig) -> None:
    lane.config = config
    lane.draw("10", 98)
    check(lane, cuts=1, painted=2)


@pytest.mark.parametrize("asset", ["eyes/tiles", "eyes/proxies"])
def test_a_damaged_version_is_not_carried_on(lane: Lane, asset: str, caplog: pytest.LogCaptureFixture) -> None:
    version = Store(lane.root / "store").current(asset)
    shard = next(path for path in sorted((version.path / "pixels" / "c").rglob("*")) if path.is_file())
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    shard.write_bytes(damaged)
    lane.draw("80", 98)
    with caplog.at_level(logging.WARNING):
        if asset == "eyes/tiles":
            check(lane, cuts=COUNT, painted=2)
        else:
            check(lane, cuts=1, painted=16)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "rebuilding all rows" in warning
    assert shard.relative_to(version.path).as_posix() in warning


def test_rows_that_are_not_what_the_record_says_stop_the_build(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a file to change after it was verified, its rows would not pass."""
    store = Store(lane.root / "store")
    version = store.current("eyes/tiles")
    array = open_array(version.path, "pixels", "r+")
    write_rows(array, 4, np.asarray(array[4:8]) ^ 1)
    monkeypatch.setattr(Store, "verify", lambda self, version: None)
    lane.draw("20", 99)
    with pytest.raises(StoreCorrupt, match=f"differ from {FILE}"):
        lane.tiles(store)


def test_a_version_without_a_record_is_made_anew_and_read_all_the_same(lane: Lane) -> None:
    for asset in ("eyes/tiles", "eyes/proxies"):
        version = Store(lane.root / "store").current(asset)
        (version.path / FILE).unlink()
        marker = version.path / "COMPLETE.json"
        told = json.loads(marker.read_text())
        del told["files"][FILE]
        marker.write_text(json.dumps(told))
    lane.draw("10", 98)
    check(lane, cuts=COUNT, painted=16)


def test_the_log_says_how_much_was_made(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    lane.draw("10", 98)
    with caplog.at_level(logging.INFO):
        lane.both(Store(lane.root / "store"))
    assert "eyes/tiles: cut 1 of 9 images; the others are copied from" in caplog.text
    assert "eyes/proxies: 2 of 16 tiles; the others are copied from" in caplog.text


def test_a_killed_increment_goes_on_even_from_another_version(lane: Lane) -> None:
    """Its parts are known by content: none is mixed up when other images are left to cut."""
    store = Store(lane.root / "store")
    first = store.current("eyes/tiles")
    lane.draw("00a", 90)
    lane.tiles(store)  # a second version that knows one of the coming images
    second = lane.tiles(store)
    for number in range(20):
        lane.draw(f"{number:02d}x", 100 + number)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run([sys.executable, __file__, str(lane.root)], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    (work,) = (lane.root / "store" / "work" / "eyes" / "tiles").iterdir()
    assert len(list((work / "parts").glob("*.part"))) == 1
    store.point(second)
    assert second != first
    check(lane, cuts=20, painted=42)  # batches begin elsewhere, so no part fits


def test_a_killed_increment_goes_on_where_it_stopped(lane: Lane) -> None:
    for number in range(20):
        lane.draw(f"{number:02d}x", 100 + number)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, __file__, str(lane.root)], env=environment, check=False)
    check(lane, cuts=20 - cutting_module.BATCH, painted=40)


def test_every_kept_shard_of_zeros_has_no_file(lane: Lane) -> None:
    """zarr writes none for them, so there is none to copy; reading gives zeros."""
    store = Store(lane.root / "store")
    tiles = store.current("eyes/tiles")
    assert not (tiles.path / "lesions" / "c" / "0").exists()
    lane.draw("80", 98)
    again, _ = check(lane, cuts=1, painted=2)
    assert not np.asarray(open_array(again.path, "lesions")[0:4]).any()


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record(
        recipe="r",
        sources={"a": (0, 2), "b": "white corner", "c": (2, 1)},
        digests=[["x", "y"], ["z", "v"], ["u", "w"]],
    )
    record.write(tmp_path)
    assert Record.read(tmp_path) == record
    assert Record.read(tmp_path / "none") is None


@pytest.mark.parametrize("rows", [[], [3], [0, 1, 2], [9, 8, 7], [4, 5, 1, 2, 3, 9, 4], list(range(10))])
def test_rows_are_read_in_any_order(tmp_path: Path, rows: list[int]) -> None:
    values = np.random.default_rng(0).integers(0, 255, (10, 1, 8, 8), dtype=np.uint8)
    create(zarr.open_group(tmp_path, mode="w"), "pixels", values.shape, shard=4, level=1)
    write_rows(open_array(tmp_path, "pixels", "r+"), 0, values)
    np.testing.assert_array_equal(rows_at(open_array(tmp_path, "pixels"), np.array(rows, int)), values[rows])


def be_killed(root: Path) -> None:
    """Child of the kill tests: an increment with one thread that sends SIGKILL to itself in the second batch."""
    lane = Lane(root)
    lane.form.deadly = 12
    how = {"code_version": lane.code, "workers": 1}
    raw, store = RawFolder(lane.raw), Store(root / "store")
    build_tiles(lane.images(), raw, Eyes(), lane.form, lane.config, store, **how)  # type: ignore[arg-type]


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]))
