"""Proxies of a tiles store: content, checks, sheets, resuming."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.typing import NDArray
from skimage.measure import label as connected

from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles import proxies as proxies_module
from pipeline.tiles.checks import LARGE, TITLE, kinds_sheet, proxy_sheet, proxy_values
from pipeline.tiles.loading import load_tiles
from pipeline.tiles.proxies import build_proxies, proxy_of
from pipeline.tiles.proxy_kinds import PROXIES, ProxyConfig
from tests.unit.drawn_tiles import blobs

pytestmark = pytest.mark.slow


NEUTRAL = 9
CONFIG = ProxyConfig(segments=60, iterations=2)


def make_tiles(path: Path, count: int = 11, channels: int = 1, shard: int = 3) -> Version:
    """A tiles store with a corner without data in every second tile and one tile without any."""
    generator = np.random.default_rng(1)
    pixels = blobs(generator, count, channels)
    validity = np.full((count, TILE, TILE), SCORED, np.uint8)
    validity[::2, :70, :90] = NO_DATA
    validity[4:5] = NO_DATA
    pixels[np.broadcast_to((validity == NO_DATA)[:, None], pixels.shape)] = NEUTRAL
    facts = {"neutral": NEUTRAL, "lesions": [], "canvases": {"whole": [1, 1]}}
    group = zarr.open_group(path, mode="w", attributes=facts)
    for name, block in (("pixels", pixels), ("validity", validity)):
        create(group, name, block.shape, shard=shard, level=1)
        write_rows(open_array(path, name, "r+"), 0, block)
    index = pd.DataFrame({"tile": range(count), "slot": "whole", "label": [0, 1] * (count // 2) + [0] * (count % 2)})
    index.to_parquet(path / "index.parquet")
    return Version(asset="eyes/tiles", path=path, data_version="c" * 16, meta={})


def build(
    tiles: Version, root: Path, address: str | None = None, workers: int = 2, config: ProxyConfig = CONFIG
) -> Version:
    settings = {"code_version": "1", "workers": workers}
    return build_proxies(tiles, config, Store(root), scheduler_address=address, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version]:
    root = tmp_path_factory.mktemp("lane")
    tiles = make_tiles(root / "tiles")
    return tiles, build(tiles, root / "store")


@pytest.mark.parametrize("size", [(128, 128), (64, 256), (64, 64)])
def test_a_proxy_is_made_at_the_training_size_with_superpixels_of_the_same_width(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    tiles = make_tiles(tmp_path / "tiles")
    index = pd.read_parquet(tiles.path / "index.parquet").assign(canvas="whole", split="train")
    index.to_parquet(tiles.path / "index.parquet")
    config = ProxyConfig(segments=800, sizes={"whole": size})
    made = build(tiles, tmp_path / "store", config=config)
    held = load_tiles(tiles, made, splits=["train"], size=size)
    assert held.proxies is not None
    for pixels, proxy, validity in zip(held.pixels, held.proxies, held.validity, strict=True):
        direct = proxy_of(pixels, validity != NO_DATA, NEUTRAL, config.at_size(size))
        np.testing.assert_array_equal(proxy, direct)
    wanted = 800 * size[0] * size[1] / 256**2
    whole = held.proxies[1, 0]  # a tile with data everywhere
    assert 0.6 * wanted <= len(set(slic_cells(whole))) <= 1.3 * wanted


def slic_cells(proxy: NDArray[np.uint8]) -> list[int]:
    """Connected regions of one value; each superpixel is at least one."""
    return connected(proxy.astype(int) + 1, connectivity=1).ravel().tolist()


def test_the_store_holds_the_proxy_of_every_tile(lane: tuple[Version, Version]) -> None:
    tiles, proxies = lane
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    painted = open_array(proxies.path, "pixels")
    assert (painted.shape, painted.chunks, painted.shards) == (pixels.shape, (1, 1, 256, 256), (3, 1, 256, 256))
    for row in range(11):
        expected = proxy_of(np.asarray(pixels[row]), np.asarray(validity[row]) != NO_DATA, NEUTRAL, CONFIG)
        np.testing.assert_array_equal(np.asarray(painted[row]), expected)
    assert (np.asarray(painted[4]) == NEUTRAL).all()
    assert proxies.asset == "eyes/proxies"
    assert proxies.meta == {"tiles": 11, "kind": "slic", "segments": 60, "compactness": 0.1, "iterations": 2}
    passed, figures = proxy_values(tiles, proxies)
    assert passed, figures


def test_the_check_sees_damaged_proxies(tmp_path: Path) -> None:
    tiles = make_tiles(tmp_path / "tiles", 4)
    proxies = build(tiles, tmp_path / "store")
    array = open_array(proxies.path, "pixels", "r+")
    block = np.asarray(array[0:3])
    block[0, 0, 0, 0] = 200
    block[1, 0, 5, 5] = 255
    write_rows(array, 0, block)
    passed, figures = proxy_values(tiles, proxies)
    assert not passed
    assert figures["painted_no_data_pixels"] == 1
    assert figures["proxies_outside_tile_range"] >= 1
    assert not proxy_values(make_tiles(tmp_path / "more", 5), proxies)[0]


def test_colour_tiles_have_colour_proxies(tmp_path: Path) -> None:
    tiles = make_tiles(tmp_path / "tiles", 4, channels=3)
    proxies = build(tiles, tmp_path / "store")
    assert open_array(proxies.path, "pixels").shape == (4, 3, TILE, TILE)
    assert proxy_values(tiles, proxies)[0]


def test_a_cluster_of_processes_gives_what_threads_give(lane: tuple[Version, Version], tmp_path: Path) -> None:
    from distributed import LocalCluster

    tiles, proxies = lane
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**settings) as cluster:
        other = build(tiles, tmp_path, cluster.scheduler_address)
    assert other.data_version == proxies.data_version
    a, b = open_array(proxies.path, "pixels"), open_array(other.path, "pixels")
    np.testing.assert_array_equal(np.asarray(a[:]), np.asarray(b[:]))


@pytest.mark.parametrize("kind", ["edge", "edge_smooth"])
def test_another_kind_has_channels_and_a_version_of_its_own(
    lane: tuple[Version, Version], tmp_path: Path, kind: str
) -> None:
    tiles, proxies = lane
    config = ProxyConfig(kind=kind)
    other = build(tiles, tmp_path, config=config)
    assert open_array(other.path, "pixels").shape == (11, config.channels(1), TILE, TILE)
    assert other.data_version != proxies.data_version
    assert other.meta == {"tiles": 11, **config.to_json()}
    passed, figures = proxy_values(tiles, other)
    assert passed, figures
    array = open_array(other.path, "pixels", "r+")
    block = np.asarray(array[0:3])
    block[0, 0, 200, 200] = 100
    write_rows(array, 0, block)
    assert proxy_values(tiles, other)[1]["gray_edge_pixels"] == 1


def test_parameters_are_part_of_the_data_version(lane: tuple[Version, Version], tmp_path: Path) -> None:
    tiles, proxies = lane
    config = ProxyConfig(segments=60, iterations=2, compactness=0.2)
    other = build_proxies(tiles, config, Store(tmp_path), code_version="1")
    assert other.data_version != proxies.data_version


def test_an_error_is_resumed_shard_by_shard(
    lane: tuple[Version, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles, proxies = lane
    calls = []
    whole = proxies_module.proxy_of

    def failing(*arguments: object) -> NDArray[np.uint8]:
        calls.append(1)
        if len(calls) == 8:
            raise RuntimeError("power lost")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(proxies_module, "proxy_of", failing)
    with pytest.raises(RuntimeError, match="power lost"):
        build(tiles, tmp_path, workers=1)
    assert build(tiles, tmp_path, workers=1).data_version == proxies.data_version
    assert len(calls) == 8 + 11 - 6


def test_sigkill_and_rerun_give_the_same_data_version(lane: tuple[Version, Version], tmp_path: Path) -> None:
    """A real SIGKILL of a subprocess in the middle of the third shard."""
    _, proxies = lane
    tiles = make_tiles(tmp_path / "tiles")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run([sys.executable, __file__, str(tmp_path)], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    (work,) = (tmp_path / "store" / "work" / "eyes" / "proxies").iterdir()
    assert len(list((work / "shards").glob("*.json"))) == 2
    rerun = build(tiles, tmp_path / "store")
    assert rerun.data_version == proxies.data_version
    Store(tmp_path / "store").verify(rerun)


def test_the_contact_sheet_shows_tile_above_proxy(lane: tuple[Version, Version]) -> None:
    picture = cv2.imdecode(np.frombuffer(proxy_sheet(*lane, count=6), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (16 + 4 + 2 * 96, 6 * 96, 3)


def test_the_sheet_of_kinds_shows_normal_tiles_beside_all_their_proxies(lane: tuple[Version, Version]) -> None:
    faint = ProxyConfig(edge_low=0.01, edge_high=0.03)
    picture = cv2.imdecode(np.frombuffer(kinds_sheet(lane[0], faint, count=3), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (TITLE + 3 * LARGE, (1 + len(PROXIES)) * LARGE, 3)
    cells = [picture[TITLE:, LARGE * n : LARGE * (n + 1)] for n in range(1 + len(PROXIES))]
    assert all((first != second).any() for n, first in enumerate(cells) for second in cells[n + 1 :])


def be_killed(root: Path) -> None:
    """Child of the kill test: build with one thread and send SIGKILL to itself in the middle."""
    whole = proxies_module.proxy_of
    calls = []

    def deadly(*arguments: object) -> NDArray[np.uint8]:
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments)  # type: ignore[arg-type]

    proxies_module.proxy_of = deadly
    tiles = Version(asset="eyes/tiles", path=root / "tiles", data_version="c" * 16, meta={})
    build(tiles, root / "store", workers=1)


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]))
