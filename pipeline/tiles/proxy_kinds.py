"""All kinds of proxies, which stage 1 learns to predict from a tile (paper, III-B, IV-E and Fig. 8).

A function takes a tile (H, W) or (H, W, C) in [0, 1] and ``valid`` (H, W), and returns (H, W) or (H, W, K) in [0, 1].
Edges are always one channel; in a concatenation they come first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import canny
from skimage.filters import gaussian
from skimage.segmentation import slic

from pipeline.errors import ConfigError

Plane = NDArray[np.floating]
Valid = NDArray[np.bool_]
Make = Callable[[Plane, Valid, "ProxyConfig"], Plane]


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """Kind of the proxies and the parameters of all kinds; only those that the kind uses are recorded."""

    kind: str = "slic"  # a key of PROXIES
    segments: int = 800  # superpixels on a 256x256 tile, at least 1 (paper, IV-A: 800)
    compactness: float = 0.1  # weight of distance against intensity in [0, 1], above 0; not in the paper
    iterations: int = 5  # k-means steps, at least 1; 5 explain as much variance as 10
    edge_sigma: float = 2.0  # px, of Canny's Gaussian, above 0; like all that follows, not in the paper
    edge_low: float = 0.1  # hysteresis: gradient (tile in [0, 1]) at which an edge continues, at least 0
    edge_high: float = 0.2  # gradient at which an edge begins, at least edge_low; both are scikit-image's defaults
    smooth_sigma: float = 4.0  # px, of the Gaussian, above 0; about half a superpixel
    cell: int = 9  # px, side of a patch of one value, 1 to 256; as large as one of 800 superpixels
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # canvas → training rows and columns, px
    """All counts and px above are those of a 256x256 tile. Proxies of a canvas with a size are made from the tile at
    that size: superpixels keep their width in px, so a smaller tile has fewer (200 at 128x128)."""

    def __post_init__(self) -> None:
        if self.kind not in PROXIES:
            raise ConfigError(f"kind: expected one of {sorted(PROXIES)}, got {self.kind!r}")
        if self.segments < 1 or self.iterations < 1:
            got = f"{self.segments} and {self.iterations}"
            raise ConfigError(f"segments and iterations: expected at least 1 of each, got {got}")
        for name in ("compactness", "edge_sigma", "smooth_sigma"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: expected a number above 0, got {getattr(self, name)}")
        if not 0 <= self.edge_low <= self.edge_high:
            raise ConfigError(f"edge_low: expected 0 to edge_high ({self.edge_high}), got {self.edge_low}")
        if not 1 <= self.cell <= 256:
            raise ConfigError(f"cell: expected a side of 1 to 256 px, got {self.cell}")
        for canvas, size in self.sizes.items():
            if len(size) != 2 or not all(8 <= side <= 256 and 256 % side == 0 for side in size):
                raise ConfigError(f"sizes: expected divisors of 256 from 8 px for canvas {canvas}, got {size}")

    def to_json(self) -> dict[str, Any]:
        """The kind and the parameters that it uses."""
        read = {"kind": self.kind} | {name: getattr(self, name) for name in PROXIES[self.kind].parameters}
        return read | ({"sizes": {canvas: list(size) for canvas, size in self.sizes.items()}} if self.sizes else {})

    def at_size(self, size: tuple[int, int]) -> "ProxyConfig":
        """Configuration for tiles of another size: superpixels, cells and Gaussians keep their width in px."""
        segments = max(1, round(self.segments * size[0] * size[1] / 256**2))
        return replace(self, segments=segments, sizes={})

    @property
    def edges(self) -> int:
        """Number of channels of edges: 0 or 1."""
        return int("edge_sigma" in PROXIES[self.kind].parameters)

    def channels(self, of_tile: int) -> int:
        """Number of channels of the proxy of a tile with ``of_tile`` channels."""
        return self.edges + (0 if self.kind == "edge" else of_tile)


def superpixel_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """Each pixel replaced by the mean of its SLIC superpixel's valid pixels (Eq. 1); colours are compared in RGB."""
    how = {"n_segments": config.segments, "compactness": config.compactness, "max_num_iter": config.iterations}
    axis = None if tile.ndim == 2 else -1
    labels = slic(tile, **how, enforce_connectivity=True, convert2lab=False, start_label=0, channel_axis=axis)
    return segment_means(tile, labels, valid)


def segment_means(tile: Plane, labels: NDArray[np.integer], valid: Valid) -> Plane:
    """Each segment filled with the mean of its valid pixels; ``labels`` (H, W) count from 0."""
    flat, inside = labels.ravel(), valid.ravel()
    counts = np.bincount(flat[inside], minlength=int(flat.max()) + 1)
    channels = tile.reshape(flat.size, -1)
    painted, held = channels.copy(), counts[flat] > 0
    for channel in range(channels.shape[1]):
        sums = np.bincount(flat[inside], weights=channels[inside, channel], minlength=len(counts))
        painted[held, channel] = (sums / np.maximum(counts, 1))[flat[held]]
    return painted.reshape(tile.shape)


def edge_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """1 on the Canny edges of the mean channel, 0 elsewhere. The border of the valid pixels is no edge."""
    gray = tile if tile.ndim == 2 else tile.mean(axis=-1)
    seen = None if valid.all() else valid
    return np.asarray(canny(gray, config.edge_sigma, config.edge_low, config.edge_high, mask=seen), tile.dtype)


def smooth_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """The tile smoothed by a Gaussian over valid pixels only."""
    planes, inside = np.atleast_3d(tile), valid.astype(tile.dtype)[..., None]
    blur = partial(gaussian, sigma=config.smooth_sigma, mode="nearest", channel_axis=-1)
    weight = blur(inside)
    return np.asarray(blur(planes * inside) / np.maximum(weight, np.finfo(weight.dtype).tiny)).reshape(tile.shape)


def patch_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """Each cell of a regular grid replaced by the mean of its valid pixels."""
    rows, cols = (np.arange(side) // config.cell for side in tile.shape[:2])
    return segment_means(tile, rows[:, None] * (cols[-1] + 1) + cols[None, :], valid)


def _after_edges(other: Make) -> Make:
    """Edges and another proxy, concatenated (⊕ in Table III)."""
    return lambda tile, valid, config: np.dstack([edge_image(tile, valid, config), other(tile, valid, config)])


@dataclass(frozen=True)
class ProxyKind:
    """A function, the fields of ``ProxyConfig`` that it uses, and its name in reports."""

    make: Make
    parameters: tuple[str, ...]
    title: str


_EDGE = ("edge_sigma", "edge_low", "edge_high")
PROXIES: Mapping[str, ProxyKind] = {
    "slic": ProxyKind(superpixel_image, ("segments", "compactness", "iterations"), "superpixel image"),
    "edge": ProxyKind(edge_image, _EDGE, "edge"),
    "smooth": ProxyKind(smooth_image, ("smooth_sigma",), "smooth image"),
    "patches": ProxyKind(patch_image, ("cell",), "smooth patches"),
    "edge_smooth": ProxyKind(_after_edges(smooth_image), (*_EDGE, "smooth_sigma"), "edge + smooth image"),
    "edge_patches": ProxyKind(_after_edges(patch_image), (*_EDGE, "cell"), "edge + smooth patches"),
}
"""All kinds of the paper's Table III."""
TITLES = {kind: proxy.title for kind, proxy in PROXIES.items()}  # kind → name in reports
