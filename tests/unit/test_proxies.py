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
from scipy.stats import norm
from skimage.measure import label as connected
from skimage.segmentation import slic

from pipeline.errors import ConfigError
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles import proxies as proxies_module
from pipeline.tiles.checks import proxy_values
from pipeline.tiles.contact_sheet import LARGE, TITLE, kinds_sheet, proxy_sheet
from pipeline.tiles.loading import load_tiles
from pipeline.tiles.proxies import build_proxies, proxy_of
from pipeline.tiles.proxy_kinds import PARAMETERS, PROXIES, TITLES, ProxyConfig, segment_means

pytestmark = pytest.mark.slow

NEUTRAL = 9
CONFIG = ProxyConfig(segments=60, iterations=2)


def blobs(generator: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    """Smooth random pictures (…, 256, 256) with some noise."""
    coarse = generator.integers(20, 235, (*shape, 8, 8)).astype(np.uint8).reshape(-1, 8, 8)
    fine = np.stack([cv2.resize(plane, (TILE, TILE), interpolation=cv2.INTER_CUBIC) for plane in coarse])
    noise = generator.integers(0, 12, fine.shape, dtype=np.uint8)
    return (fine // 2 + noise + 60).astype(np.uint8).reshape(*shape, TILE, TILE)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_means_equal_a_loop_over_labels(channels: int) -> None:
    generator = np.random.default_rng(2)
    tile = np.moveaxis(blobs(generator, channels), 0, -1).astype(np.float64) / 255
    tile = tile[..., 0] if channels == 1 else tile
    labels = slic(tile, n_segments=90, compactness=0.1, channel_axis=None if channels == 1 else -1, start_label=0)
    valid = generator.random(labels.shape) < 0.7
    valid[labels == 5] = False
    expected = tile.copy()
    for label in np.unique(labels):
        if (valid & (labels == label)).any():
            expected[labels == label] = tile[valid & (labels == label)].mean(axis=0)
    np.testing.assert_allclose(segment_means(tile, labels, valid), expected, rtol=1e-12)


def test_a_superpixel_image_is_made_of_about_as_many_flat_segments_as_asked_and_close_to_the_tile() -> None:
    tile = blobs(np.random.default_rng(3), 1)
    valid = np.ones((TILE, TILE), bool)
    proxy = PROXIES["slic"](tile[0].astype(np.float32) / 255, valid, ProxyConfig())
    assert 400 <= len(np.unique(proxy)) <= 900
    assert 0 <= proxy.min() <= proxy.max() <= 1
    explained = 1 - np.var(proxy - tile[0] / 255) / np.var(tile[0] / 255)
    assert explained > 0.8


@pytest.mark.parametrize("kind", sorted(PROXIES))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_proxy_keeps_size_range_and_neutral(kind: str, channels: int) -> None:
    tile = blobs(np.random.default_rng(4), channels)
    valid = np.ones((TILE, TILE), bool)
    valid[:, 200:] = False
    config = ProxyConfig(kind=kind, edge_low=0.01, edge_high=0.03)  # these pictures have no strong edge
    proxy = proxy_of(tile, valid, NEUTRAL, config)
    assert (proxy.shape, proxy.dtype) == ((config.channels(channels), TILE, TILE), np.uint8)
    assert (proxy[:, ~valid] == NEUTRAL).all()
    edges, levels = proxy[: config.edges, valid], proxy[config.edges :, valid]
    assert len(levels) == (0 if kind == "edge" else channels)
    for channel, painted in enumerate(levels):
        low, high = tile[channel, valid].min(), tile[channel, valid].max()
        assert low <= painted.min() <= painted.max() <= high
    assert set(np.unique(edges)) == ({0, 255} if "edge" in kind else set())
    other = tile.copy()
    other[:, ~valid] = 255
    np.testing.assert_array_equal(proxy_of(other, valid, NEUTRAL, config), proxy)
    nothing = proxy_of(tile, np.zeros_like(valid), NEUTRAL, config)
    assert nothing.shape == proxy.shape
    assert (nothing == NEUTRAL).all()


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


def test_sizes_must_divide_the_tile_and_are_part_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="divisors of 256"):
        ProxyConfig(sizes={"wide": (100, 128)})
    assert ProxyConfig(sizes={"wide": (64, 128)}).to_json()["sizes"] == {"wide": [64, 128]}
    assert "sizes" not in ProxyConfig().to_json()


@pytest.mark.parametrize("kind", sorted(set(PROXIES) - {"edge"}))
def test_every_proxy_of_a_flat_tile_is_that_tile_and_shows_no_edge(kind: str) -> None:
    """Also at the border of what is valid, where nothing may leak in."""
    valid = np.ones((TILE, TILE), bool)
    valid[:90, :120] = False
    config = ProxyConfig(kind=kind)
    proxy = proxy_of(np.full((1, TILE, TILE), 77, np.uint8), valid, 200, config)
    assert (proxy[config.edges :, valid] == 77).all()
    assert (proxy[: config.edges, valid] == 0).all()


def test_a_step_is_an_edge_where_it_is_and_a_smooth_ramp_elsewhere() -> None:
    tile = np.full((1, TILE, TILE), 40, np.uint8)
    tile[..., 130:] = 200
    valid = np.ones((TILE, TILE), bool)
    edge = proxy_of(tile, valid, NEUTRAL, ProxyConfig(kind="edge"))[0]
    columns = np.flatnonzero(edge[20:-20].any(axis=0))
    assert set(columns) <= {129, 130}
    assert len(columns)
    sigma = 6.0
    smooth = proxy_of(tile, valid, NEUTRAL, ProxyConfig(kind="smooth", smooth_sigma=sigma))[0]
    expected = 40 + 160 * norm.cdf((np.arange(TILE) - 129.5) / sigma)
    np.testing.assert_allclose(smooth[128], expected, atol=2)


def test_patches_are_the_means_of_a_regular_grid() -> None:
    tile = blobs(np.random.default_rng(5), 1)
    valid = np.ones((TILE, TILE), bool)
    proxy = proxy_of(tile, valid, NEUTRAL, ProxyConfig(kind="patches", cell=32))[0]
    means = tile[0].reshape(8, 32, 8, 32).mean(axis=(1, 3))
    np.testing.assert_allclose(proxy, np.kron(means, np.ones((32, 32))), atol=0.51)


@pytest.mark.parametrize("kind", ["edge_smooth", "edge_patches"])
def test_a_concatenation_holds_both_of_its_parts(kind: str) -> None:
    tile, valid = blobs(np.random.default_rng(6), 1), np.ones((TILE, TILE), bool)
    valid[100:140] = False
    both, first, second = (
        proxy_of(tile, valid, NEUTRAL, ProxyConfig(kind=one)) for one in (kind, "edge", kind.removeprefix("edge_"))
    )
    np.testing.assert_array_equal(both, np.concatenate([first, second]))


def test_a_kind_knows_its_own_parameters_only() -> None:
    assert PROXIES.keys() == PARAMETERS.keys() == TITLES.keys()
    own = ProxyConfig(kind="edge").to_json()
    assert set(own) == {"kind", "edge_sigma", "edge_low", "edge_high"}
    assert ProxyConfig(kind="edge", segments=9).to_json() == own
    assert ProxyConfig(kind="edge", edge_high=0.3).to_json() != own


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
    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
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


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "slick"},
        {"segments": 0},
        {"iterations": 0},
        {"compactness": 0.0},
        {"compactness": np.nan},
        {"edge_sigma": 0.0},
        {"edge_low": 0.3},
        {"smooth_sigma": -1.0},
        {"cell": 0},
    ],
)
def test_odd_parameters_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ProxyConfig(**settings)  # type: ignore[arg-type]


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
