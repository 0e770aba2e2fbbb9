"""Proxies of single tiles: every kind, and its parameters."""

import numpy as np
import pytest
from scipy.stats import norm
from skimage.segmentation import slic

from pipeline.errors import ConfigError
from pipeline.forms.form import TILE
from pipeline.tiles.proxies import proxy_of
from pipeline.tiles.proxy_kinds import PROXIES, ProxyConfig, segment_means
from tests.unit.drawn_tiles import blobs

pytestmark = pytest.mark.slow


NEUTRAL = 9


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
    proxy = PROXIES["slic"].make(tile[0].astype(np.float32) / 255, valid, ProxyConfig())
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
    own = ProxyConfig(kind="edge").to_json()
    assert set(own) == {"kind", "edge_sigma", "edge_low", "edge_high"}
    assert ProxyConfig(kind="edge", segments=9).to_json() == own
    assert ProxyConfig(kind="edge", edge_high=0.3).to_json() != own


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
