"""Find Bruch's membrane in an OCT B-scan: a coarse layer by RANSAC, a shortest path, a fit that sees past drusen.

Legend: (H, W) grayscale B-scan at native scale; row 0 on top, so "above" is towards the vitreous. All positions are
pixel centres. Padding is excluded by a validity mask and is never looked at. Nothing here is random from run to run.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, UnusableImage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

RANSAC_SEED = 2009  # a constant, so that the same image always gives the same membrane


@dataclass(frozen=True, kw_only=True)
class MembraneConfig:
    """How the membrane is looked for; lengths in px of the native B-scan."""

    floor: float = 20.0  # percentile of the valid pixels that counts as black, [0, 100)
    smooth: tuple[float, float] = (2.0, 5.0)  # Gaussian of the layer score, axial and lateral
    above: tuple[int, int, float] = (75, 12, 0.8)  # window above the layer, from-to, and its weight: bright retina
    below: tuple[int, int, float] = (35, 100, 0.5)  # window below, from-to, and its weight: darker choroid
    trials: int = 400  # RANSAC hypotheses, one point in each third of the width
    inlier: float = 8.0  # scale of a soft inlier
    reweighted: int = 10  # reweighted least squares steps after RANSAC
    band: tuple[int, int] = (-60, 50)  # rows about the coarse layer in which the membrane lies
    border: tuple[int, int] = (7, 9)  # rows averaged above and below a border
    edge_smooth: tuple[float, float] = (0.7, 2.0)  # Gaussian before the border, axial and lateral
    order: int = 4  # Legendre order of the membrane
    trust: tuple[float, float] = (6.0, 2.5)  # scale of a border below and above the fit
    weight_above: float = 0.35  # weight of a border above the fit (drusen lift the border, not the membrane)
    columns: float = 0.3  # least share of columns with data, (0, 1]
    support: float = 0.2  # least mean soft inlier of the coarse layer, (0, 1]
    contrast: float = 0.15  # least fall of brightness across the membrane, sd of the B-scan

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 100:
            raise ConfigError(f"MembraneConfig.floor is a percentile in [0, 100), got {self.floor}")
        if not self.band[0] < 0 < self.band[1]:
            raise ConfigError(f"MembraneConfig.band must enclose 0, got {self.band}")
        if not (0 < self.columns <= 1 and 0 < self.support <= 1):
            raise ConfigError(f"MembraneConfig.columns and .support lie in (0, 1], got {self.columns}, {self.support}")


def find_membrane(image: Floats, valid: Mask, config: MembraneConfig) -> NDArray[np.float64]:
    """Row of Bruch's membrane in every column, (W,); raises ``UnusableImage`` where no layer is found."""
    if valid.mean() < 0.05:
        raise UnusableImage(f"only {valid.mean():.1%} of the B-scan is image, the rest is padding")
    black, bright = np.percentile(image[valid][::3], [config.floor, 99])
    signal = np.where(valid, np.maximum(image - black, 0), 0).astype(np.float32)
    if bright - black < 4:
        raise UnusableImage("no layer found: the B-scan is blank (99th percentile within 4 gray values of the 20th)")
    coarse = _coarse_layer(signal, valid, config)
    path, weight = _shortest_border(signal, valid, coarse, config)
    membrane = _fit_below(path, weight, config)
    contrast = _contrast(signal, valid, membrane, config)
    if contrast < config.contrast:
        raise UnusableImage(f"no layer found: contrast {contrast:.2f} sd at the best fit, {config.contrast} expected")
    return membrane


def _contrast(signal: Floats, valid: Mask, membrane: NDArray[np.float64], config: MembraneConfig) -> float:
    """Mean fall of brightness across the membrane, in sd of the B-scan's valid pixels; about 0 in mere noise."""
    up, down = config.border
    rows = np.rint(membrane).astype(int) + np.arange(-up, down + 1)[:, None]
    inside = (rows >= 0) & (rows < len(signal))
    place = np.clip(rows, 0, len(signal) - 1), np.arange(signal.shape[1])[None, :]
    values, weight = signal[place], valid[place] & inside
    if not (weight[:up].any() and weight[-down:].any()):
        return 0.0
    fall = values[:up][weight[:up]].mean() - values[-down:][weight[-down:]].mean()
    return float(fall / signal[valid].std())


def smooth(image: Floats, valid: Mask, sigma: tuple[float, float]) -> Floats:
    """Gaussian (axial, lateral) over valid pixels only, zero elsewhere."""
    weight = valid.astype(np.float32)
    axial, lateral = sigma
    total, share = (
        cv2.GaussianBlur(part, (0, 0), sigmaX=lateral, sigmaY=axial, borderType=cv2.BORDER_CONSTANT)
        for part in (image * weight, weight)
    )
    return np.asarray(total / np.maximum(share, 1e-6) * weight, np.float32)


def _window_mean(values: Floats, weight: Floats, first: int, last: int) -> Floats:
    """Mean of the valid pixels in rows y+first…y+last (both included) of each pixel's column; 0 where there is none."""
    reach = max(abs(first), abs(last))
    size = (1, last - first + 1)
    framed = [cv2.copyMakeBorder(part, reach, reach, 0, 0, cv2.BORDER_CONSTANT) for part in (values * weight, weight)]
    rows = slice(reach + first, reach + first + len(values))
    total, count = (
        cv2.boxFilter(part, -1, size, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)[rows]
        for part in framed
    )
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _coarse_layer(signal: Floats, valid: Mask, config: MembraneConfig) -> NDArray[np.float64]:
    """Robust quadratic (W,) through each column's layer: bright, with bright retina above and dark choroid below."""
    layers = smooth(signal, valid, config.smooth)
    weight = valid.astype(np.float32)
    far, near, gain = config.above
    start, stop, loss = config.below
    score = layers + gain * _window_mean(layers, weight, -far, -near) - loss * _window_mean(layers, weight, start, stop)
    score[~valid] = -np.inf
    columns = np.flatnonzero(valid.mean(axis=0) > 0.2)
    if len(columns) < config.columns * valid.shape[1]:
        raise UnusableImage(f"no layer found: only {len(columns)} of {valid.shape[1]} columns hold image")
    return _ransac_quadratic(columns, score.argmax(axis=0)[columns].astype(float), valid.shape[1], config)


def _ransac_quadratic(
    columns: NDArray[np.intp], rows: NDArray[np.float64], width: int, config: MembraneConfig
) -> NDArray[np.float64]:
    """Quadratic with the most soft inliers, then reweighted least squares; evaluated at all columns."""
    rng = np.random.default_rng(RANSAC_SEED)
    t = columns / width * 2 - 1
    thirds = np.array_split(np.arange(len(columns)), 3)
    picks = np.stack([rng.choice(third, config.trials) for third in thirds], axis=1)
    curves = np.linalg.solve(np.vander(t[picks].ravel(), 3).reshape(-1, 3, 3), rows[picks][..., None])[..., 0]
    sparse = slice(None, None, 3)
    residual = curves @ np.vander(t[sparse], 3).T - rows[sparse]
    curve = curves[np.exp(-0.5 * (residual / config.inlier) ** 2).mean(axis=1).argmax()]
    design = np.vander(t, 3)
    for _ in range(config.reweighted):
        weight = np.sqrt(np.exp(-0.5 * ((design @ curve - rows) / config.inlier) ** 2) + 1e-4)
        curve = np.linalg.lstsq(design * weight[:, None], rows * weight, rcond=None)[0]
    support = float(np.exp(-0.5 * ((design @ curve - rows) / config.inlier) ** 2).mean())
    if support < config.support:
        raise UnusableImage(f"no layer found: {support:.2f} of the columns agree, at least {config.support} expected")
    everywhere = np.clip(np.arange(width), columns[0], columns[-1]) / width * 2 - 1
    return np.asarray(np.vander(everywhere, 3) @ curve, np.float64)


def _shortest_border(
    signal: Floats, valid: Mask, coarse: NDArray[np.float64], config: MembraneConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strongest bright-over-dark border near ``coarse``: rows (W,) and weights 0/1 (W,).

    The path moves at most one row a column against the coarse layer.
    """
    height, width = signal.shape
    up, down = config.border
    grey = smooth(signal, valid, config.edge_smooth)
    top = np.rint(coarse).astype(int) + config.band[0]
    rows = top[None, :] + np.arange(-up, config.band[1] - config.band[0] + down + 1)[:, None]
    inside = (rows >= 0) & (rows < height)
    clipped = np.clip(rows, 0, height - 1), np.arange(width)[None, :]
    band, weight = grey[clipped], (valid[clipped] & inside).astype(np.float32)
    above, below = _window_mean(band, weight, -up, -1), _window_mean(band, weight, 1, down)
    whole = _window_mean(weight, np.ones_like(weight), -up, down) > 0.99
    edge = np.where(whole, above - below, 0)[up:-down]
    path = _best_path(np.ascontiguousarray(edge.T))
    seen = edge[path, np.arange(width)] > 0
    if seen.mean() < config.columns:
        raise UnusableImage(f"no layer found: a border in only {seen.mean():.0%} of the columns")
    return (top + path).astype(np.float64), seen.astype(np.float64)


def _best_path(gain: Floats) -> NDArray[np.intp]:
    """Rows (W,) of the path of greatest sum through ``gain`` (W, R) that moves at most one row a column."""
    width, rows = gain.shape
    steps = np.zeros((width, rows), np.int8)
    best = np.full(rows + 2, -np.inf, np.float32)
    best[1:-1] = gain[0]
    for column in range(1, width):
        stay, left, right = best[1:-1], best[:-2], best[2:]
        step = np.where(left > stay, -1, 0)
        peak = np.maximum(stay, left)
        step[right > peak] = 1
        steps[column] = step
        best[1:-1] = np.maximum(peak, right) + gain[column]
    path = np.empty(width, np.intp)
    path[-1] = int(best[1:-1].argmax())
    for column in range(width - 1, 0, -1):
        path[column - 1] = path[column] + steps[column, path[column]]
    return path


def _fit_below(path: NDArray[np.float64], weight: NDArray[np.float64], config: MembraneConfig) -> NDArray[np.float64]:
    """Legendre polynomial (W,) that follows borders below itself and is hardly lifted by those above."""
    seen = np.flatnonzero(weight)
    x = np.arange(len(path)) / len(path) * 2 - 1
    design = np.polynomial.legendre.legvander(x, config.order)
    below, above = config.trust
    trust = weight
    for _ in range(15):
        root = np.sqrt(trust)
        curve = np.linalg.lstsq(design * root[:, None], path * root, rcond=None)[0]
        residual = path - design @ curve
        soft = np.where(
            residual >= 0, 1 / (1 + (residual / below) ** 2), config.weight_above / (1 + (residual / above) ** 2)
        )
        trust = weight * soft
    return np.asarray((design @ curve)[np.clip(np.arange(len(path)), seen[0], seen[-1])], np.float64)
