"""Find Bruch's membrane in an OCT B-scan: a coarse layer by RANSAC, a shortest path, and a fit that ignores drusen.

Legend: (H, W) grayscale at native scale, row 0 on top, towards the vitreous; positions are pixel centres, lengths px.
"""

from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnusableImage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FLOOR = 20.0  # percentile of the valid pixels that counts as black
LAYER_SMOOTH = (2.0, 5.0)  # sd of the Gaussian before the layer score, axial and lateral
ABOVE = (75, 12, 0.8)  # window above the layer, from-to, and its weight: bright retina
BELOW = (35, 100, 0.5)  # window below the layer, from-to, and its weight: darker choroid
RANSAC_SEED = 2009
TRIALS = 400  # RANSAC hypotheses, each through one point in each third of the width
INLIER = 8.0  # scale of a soft inlier
REWEIGHTED = 10  # reweighted least squares steps after RANSAC
BAND = (-60, 50)  # rows about the coarse layer that are searched for the membrane
BORDER = (7, 9)  # rows averaged above and below a border
BORDER_SMOOTH = (0.7, 2.0)  # sd of the Gaussian before the search of the border, axial and lateral
SMOOTH_REACH = 8  # rows about the searched ones that this Gaussian may reach
ORDER = 4  # Legendre order of the membrane
FIT_STEPS = 15  # reweighted least squares steps of the fit
TRUST = (6.0, 2.5)  # scale of a border below and above the fit
WEIGHT_ABOVE = 0.35  # weight of a border above the fit: drusen lift the border, not the membrane
LEAST_COLUMNS = 0.3  # least share of columns with data
LEAST_SUPPORT = 0.2  # least mean soft inlier of the coarse layer
LEAST_CONTRAST = 0.15  # least fall of brightness across the membrane, sd of the B-scan


def find_membrane(image: Floats, valid: Mask) -> NDArray[np.float64]:
    """Row of Bruch's membrane in every column, (W,); raises ``UnusableImage`` if no layer is found."""
    if valid.mean() < 0.05:
        raise UnusableImage(f"only {valid.mean():.1%} of the B-scan is image, the rest is padding")
    black, bright = np.percentile(image[valid][::3], [FLOOR, 99])
    signal = np.where(valid, np.maximum(image - black, 0), 0).astype(np.float32)
    if bright - black < 4:
        raise UnusableImage("no layer found: the B-scan is blank (99th percentile within 4 gray values of the 20th)")
    membrane = _fit_below(*_shortest_border(signal, valid, _coarse_layer(signal, valid)))
    values, weight = _about(membrane, -BORDER[0], BORDER[1], signal, valid)
    above, below = (values[rows][weight[rows]] for rows in (slice(BORDER[0]), slice(-BORDER[1], None)))
    # The mean fall of brightness across the membrane, in sd of the B-scan, is about 0 in noise.
    contrast = float((above.mean() - below.mean()) / signal[valid].std()) if above.size and below.size else 0.0
    if contrast < LEAST_CONTRAST:
        raise UnusableImage(f"no layer found: contrast {contrast:.2f} sd at the best fit, {LEAST_CONTRAST} expected")
    return membrane


def _about(curve: NDArray[np.float64], first: int, last: int, values: Floats, valid: Mask) -> tuple[Floats, Mask]:
    """Values and validity in rows first…last (both included) about a curve; rows beyond the file are invalid."""
    rows = np.rint(curve).astype(int) + np.arange(first, last + 1)[:, None]
    clipped = np.clip(rows, 0, len(values) - 1)
    place = clipped, np.arange(values.shape[1])
    return values[place], valid[place] & (clipped == rows)


def smooth(image: Floats, valid: Mask, sigma: tuple[float, float]) -> Floats:
    """Gaussian (axial, lateral) over valid pixels only, zero elsewhere."""
    weight = valid.astype(np.float32)
    blur = partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma[1], sigmaY=sigma[0], borderType=cv2.BORDER_CONSTANT)
    total, share = blur(image * weight), blur(weight)
    return np.asarray(total / np.maximum(share, 1e-6) * weight, np.float32)


def _window_mean(values: Floats, valid: Mask, first: int, last: int) -> Floats:
    """Mean of the valid pixels in rows y+first…y+last (both included) of each column; 0 if there are none."""
    total, count = _window_sum(values * valid, first, last), _window_sum(valid.astype(np.uint8), first, last)
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _window_sum(values: NDArray[Any], first: int, last: int) -> NDArray[Any]:
    """Sums over rows y+first…y+last of each column; of float32 values the same, of uint8 int32."""
    reach, size = max(abs(first), abs(last)), (1, last - first + 1)
    framed = cv2.copyMakeBorder(values, reach, reach, 0, 0, cv2.BORDER_CONSTANT)
    depth = cv2.CV_32S if values.dtype == np.uint8 else -1
    sums = cv2.boxFilter(framed, depth, size, anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums[reach + first : reach + first + len(values)])


def _coarse_layer(signal: Floats, valid: Mask) -> NDArray[np.float64]:
    """Robust quadratic (W,) through each column's layer: bright, with bright retina above and dark choroid below."""
    layers = smooth(signal, valid, LAYER_SMOOTH)
    (far, near, gain), (start, stop, loss) = ABOVE, BELOW
    score = layers + gain * _window_mean(layers, valid, -far, -near) - loss * _window_mean(layers, valid, start, stop)
    score[~valid] = -np.inf
    columns = np.flatnonzero(valid.mean(axis=0) > 0.2)
    if len(columns) < LEAST_COLUMNS * valid.shape[1]:
        raise UnusableImage(f"no layer found: only {len(columns)} of {valid.shape[1]} columns hold image")
    return _ransac_quadratic(columns, score.argmax(axis=0)[columns].astype(float), valid.shape[1])


def _ransac_quadratic(columns: NDArray[np.intp], rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Quadratic with the most soft inliers, then reweighted least squares; evaluated at all columns."""
    rng = np.random.default_rng(RANSAC_SEED)
    t = columns / width * 2 - 1
    thirds = np.array_split(np.arange(len(columns)), 3)
    picks = np.stack([rng.choice(third, TRIALS) for third in thirds], axis=1)
    curves = np.linalg.solve(np.vander(t[picks].ravel(), 3).reshape(-1, 3, 3), rows[picks][..., None])[..., 0]
    sparse = slice(None, None, 3)
    residual = curves @ np.vander(t[sparse], 3).T - rows[sparse]
    curve = curves[np.exp(-0.5 * (residual / INLIER) ** 2).mean(axis=1).argmax()]
    design = np.vander(t, 3)
    for _ in range(REWEIGHTED):
        weight = np.sqrt(np.exp(-0.5 * ((design @ curve - rows) / INLIER) ** 2) + 1e-4)
        curve = np.linalg.lstsq(design * weight[:, None], rows * weight, rcond=None)[0]
    support = float(np.exp(-0.5 * ((design @ curve - rows) / INLIER) ** 2).mean())
    if support < LEAST_SUPPORT:
        raise UnusableImage(f"no layer found: {support:.2f} of the columns agree, at least {LEAST_SUPPORT} expected")
    everywhere = np.clip(np.arange(width), columns[0], columns[-1]) / width * 2 - 1
    return np.asarray(np.vander(everywhere, 3) @ curve, np.float64)


def _shortest_border(
    signal: Floats, valid: Mask, coarse: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Strongest bright-over-dark border near ``coarse``, at most one row a column off: rows and weights 0/1 (W,)."""
    up, down = BORDER
    above, below = int(coarse.min()) + BAND[0] - up, int(coarse.max()) + BAND[1] + down
    near = slice(max(0, above - SMOOTH_REACH), max(1, below + SMOOTH_REACH))
    grey = smooth(signal[near], valid[near], BORDER_SMOOTH)
    band, seen = _about(coarse - near.start, BAND[0] - up, BAND[1] + down, grey, valid[near])
    whole = _window_sum(seen.astype(np.uint8), -up, down) == up + 1 + down
    edge = np.where(whole, _window_mean(band, seen, -up, -1) - _window_mean(band, seen, 1, down), 0)[up:-down]
    path = _best_path(np.ascontiguousarray(edge.T))
    found = edge[path, np.arange(len(path))] > 0
    if found.mean() < LEAST_COLUMNS:
        raise UnusableImage(f"no layer found: a border in only {found.mean():.0%} of the columns")
    return np.rint(coarse) + BAND[0] + path, found.astype(np.float64)


def _best_path(gain: Floats) -> NDArray[np.intp]:
    """Rows (W,) of the path of greatest sum through ``gain`` (W, R) that moves at most one row a column."""
    width, rows = gain.shape
    # Dynamic programming from left to right. ``best`` holds, for each column, the greatest sum of a path that ends in
    # each row, with one row of -inf at either end so that no path leaves the band.
    best = np.full((width, rows + 2), -np.inf, np.float32)
    best[0, 1:-1] = gain[0]
    peak = np.empty(rows, np.float32)
    for before, now, here in zip(best, best[1:, 1:-1], gain[1:], strict=False):
        np.maximum(before[1:-1], before[:-2], out=peak)
        np.maximum(peak, before[2:], out=peak)
        np.add(peak, here, out=now)
    path = np.empty(width, np.intp)
    path[-1] = int(best[-1, 1:-1].argmax())
    for column in range(width - 1, 0, -1):
        row = path[column]
        left, stay, right = best[column - 1, row : row + 3].tolist()
        path[column - 1] = row + (1 if right > max(stay, left) else -1 if left > stay else 0)
    return path


def _fit_below(path: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Legendre polynomial (W,) through the borders, hardly lifted by those above it."""
    seen = np.flatnonzero(weight)
    design = np.polynomial.legendre.legvander(np.arange(len(path)) / len(path) * 2 - 1, ORDER)
    (below, above), trust = TRUST, weight
    # Robust least squares with an asymmetric weight: a border below the curve may be the membrane itself, but one above
    # it is probably a druse. So borders above count less from the start and lose weight sooner as they move away.
    for _ in range(FIT_STEPS):
        root = np.sqrt(trust)
        curve = np.linalg.lstsq(design * root[:, None], path * root, rcond=None)[0]
        residual = path - design @ curve
        soft = np.where(residual >= 0, 1 / (1 + (residual / below) ** 2), WEIGHT_ABOVE / (1 + (residual / above) ** 2))
        trust = weight * soft
    return np.asarray((design @ curve)[np.clip(np.arange(len(path)), seen[0], seen[-1])], np.float64)
