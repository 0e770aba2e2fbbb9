"""The proxies there are: from one tile to what stage 1 learns to predict (paper, III-B, IV-E and Fig. 8).

A function of a tile (H, W) or (H, W, C) in [0, 1] and ``valid`` (H, W) gives (H, W) or (H, W, K) in [0, 1]. Edges are
one channel, whatever the tile has; in a concatenation they come first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import canny
from skimage.filters import gaussian
from skimage.segmentation import slic

from pipeline.errors import ConfigError

Plane = NDArray[np.floating]
Valid = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """Which proxy, and its parameters; those that its kind reads are recorded with the proxies."""

    kind: str = "slic"  # a key of PROXIES
    segments: int = 800  # superpixels asked for on a 256x256 tile, at least 1 (paper, IV-A: 800)
    compactness: float = 0.1  # weight of distance against intensity in [0, 1], above 0; not stated in the paper
    iterations: int = 5  # k-means steps, at least 1; 5 explains as much variance as 10
    edge_sigma: float = 2.0  # px, of Canny's Gaussian, above 0; not stated, as all that follows
    edge_low: float = 0.1  # hysteresis: gradient of a tile in [0, 1] at which an edge goes on, at least 0
    edge_high: float = 0.2  # the same at which it begins, at least edge_low; both are scikit-image's own
    smooth_sigma: float = 4.0  # px, of the Gaussian, above 0; about half a superpixel
    cell: int = 9  # px, side of a patch of one value, 1 to 256: as large as one of 800 superpixels
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # canvas → training rows and columns, px
    """All counts and px above are those of a 256x256 tile. A canvas with a size has its proxies made at that size,
    from the tile sampled down: superpixels keep their width in px, so a smaller tile has fewer (200 at 128x128)."""

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
        """The kind and what it reads: another kind's parameters change nothing here."""
        read = {"kind": self.kind} | {name: getattr(self, name) for name in PARAMETERS[self.kind]}
        return read | ({"sizes": {canvas: list(size) for canvas, size in self.sizes.items()}} if self.sizes else {})

    def at_size(self, size: tuple[int, int]) -> "ProxyConfig":
        """The same proxies for a tile of that size: superpixels, cells and Gaussians keep their width in its px."""
        segments = max(1, round(self.segments * size[0] * size[1] / 256**2))
        return replace(self, segments=segments, sizes={})

    @property
    def edges(self) -> int:
        """Channels of edges, which come first: 0 or 1."""
        return int("edge_sigma" in PARAMETERS[self.kind])

    def channels(self, of_tile: int) -> int:
        """Channels of the proxy of a tile with that many."""
        return self.edges + (0 if self.kind == "edge" else of_tile)


def superpixel_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """Each pixel replaced by the mean of its SLIC superpixel, taken over the superpixel's valid pixels (Eq. 1).

    Superpixels without a valid pixel keep the tile's values. Colours are compared as they are, not in Lab, so that
    compactness means the same for one and three channels.
    """
    labels = slic(
        tile,
        n_segments=config.segments,
        compactness=config.compactness,
        max_num_iter=config.iterations,
        enforce_connectivity=True,
        convert2lab=False,
        start_label=0,
        channel_axis=None if tile.ndim == 2 else -1,
    )
    return segment_means(tile, labels, valid)


def segment_means(tile: Plane, labels: NDArray[np.integer], valid: Valid) -> Plane:
    """Mean over the valid pixels of each segment, painted on the whole segment; ``labels`` (H, W) from 0."""
    flat = labels.ravel()
    inside = valid.ravel()
    counts = np.bincount(flat[inside], minlength=int(flat.max()) + 1)
    channels = tile.reshape(flat.size, -1)
    painted = channels.copy()
    held = counts[flat] > 0
    for channel in range(channels.shape[1]):
        sums = np.bincount(flat[inside], weights=channels[inside, channel], minlength=len(counts))
        means = sums / np.maximum(counts, 1)
        painted[held, channel] = means[flat[held]]
    return painted.reshape(tile.shape)


def edge_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """1 on Canny's edges, 0 elsewhere; of the channels' mean. The border of the valid pixels is no edge."""
    gray = tile if tile.ndim == 2 else tile.mean(axis=-1)
    found: NDArray[np.bool_] = canny(
        gray,
        sigma=config.edge_sigma,
        low_threshold=config.edge_low,
        high_threshold=config.edge_high,
        mask=None if valid.all() else valid,
    )
    return found.astype(tile.dtype)


def smooth_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """The tile through a Gaussian that sees valid pixels only."""
    inside = valid.astype(tile.dtype)
    weight = gaussian(inside, sigma=config.smooth_sigma, mode="nearest")
    weighted = tile * (inside if tile.ndim == 2 else inside[..., None])
    blurred = gaussian(weighted, sigma=config.smooth_sigma, mode="nearest", channel_axis=None if tile.ndim == 2 else -1)
    share = np.maximum(weight, np.finfo(weight.dtype).tiny)
    mean: Plane = blurred / (share if tile.ndim == 2 else share[..., None])
    return mean


def patch_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """Each cell of a regular grid replaced by the mean of its valid pixels."""
    rows, cols = (np.arange(side) // config.cell for side in tile.shape[:2])
    return segment_means(tile, rows[:, None] * (cols[-1] + 1) + cols[None, :], valid)


def edge_smooth_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """Edges and the smooth tile, one behind the other (edge ⊕ smooth)."""
    return np.dstack([edge_image(tile, valid, config), smooth_image(tile, valid, config)])


def edge_patch_image(tile: Plane, valid: Valid, config: ProxyConfig) -> Plane:
    """Edges and the tile of patches, one behind the other (edge ⊕ smooth patches)."""
    return np.dstack([edge_image(tile, valid, config), patch_image(tile, valid, config)])


PROXIES: dict[str, Callable[[Plane, Valid, ProxyConfig], Plane]] = {
    "slic": superpixel_image,
    "edge": edge_image,
    "smooth": smooth_image,
    "patches": patch_image,
    "edge_smooth": edge_smooth_image,
    "edge_patches": edge_patch_image,
}
"""Kind → function; the paper's Table III has them all."""

_EDGE, _SMOOTH, _PATCHES = ("edge_sigma", "edge_low", "edge_high"), ("smooth_sigma",), ("cell",)
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "slic": ("segments", "compactness", "iterations"),
    "edge": _EDGE,
    "smooth": _SMOOTH,
    "patches": _PATCHES,
    "edge_smooth": (*_EDGE, *_SMOOTH),
    "edge_patches": (*_EDGE, *_PATCHES),
}
"""Kind → the fields of its configuration that it reads."""
TITLES: Mapping[str, str] = {
    "slic": "superpixel image",
    "edge": "edge",
    "smooth": "smooth image",
    "patches": "smooth patches",
    "edge_smooth": "edge + smooth image",
    "edge_patches": "edge + smooth patches",
}
"""Kind → its name for people."""
