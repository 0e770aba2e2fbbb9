"""The OCT form: a B-scan flattened on Bruch's membrane, in a wide and a tight slot.

Rows are counted from the membrane and columns from the middle of the file, so a tile reveals neither the size of its
file nor its padding, which is NO_DATA. Lengths are px of the B-scan at native scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnusableImage
from pipeline.forms.bruch_membrane import Floats, Mask, find_membrane
from pipeline.forms.form import NO_DATA, SCORED, TILE, SlotTile, TileTransform

LOWEST, HIGHEST = -2.0, 5.0  # sd: the range of standardised values kept in a tile
COLUMNS = 512  # centre columns that are kept, even
SLOTS = {"wide": (-224, 96), "tight": (-48, 16)}  # slot → rows about the membrane, from-to
HALVED_FROM = 1024  # files at least this wide are sampled twice as densely; their width is halved
SMALLEST = (128, 192)  # least height and width
WHITE = 245  # gray value from which a region at the border is padding
PADDING = 12  # area in px² up to which such a region counts as image
RIM = 5  # dilation of padding, for JPEG ringing
LEAST_SCORED = 0.2  # least share of a tile with data


@dataclass(frozen=True, kw_only=True)
class BScan:
    """The centre columns of a file at native scale; columns beyond the file are invalid."""

    gray: Floats  # (H, COLUMNS), 0-255
    valid: Mask  # (H, COLUMNS)
    left: int  # native column of the file at which the centre begins; negative in a narrow file
    halved: int  # file columns per native column: 1 or 2


class BruchMembraneForm:
    """Two tiles per image: ``wide`` (224 px above to 96 below the membrane) and ``tight`` (48 above to 16 below)."""

    name = "bruch_membrane"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"wide": (1, 1), "tight": (1, 1)}
    channels = 1
    neutral = round(-LOWEST / (HIGHEST - LOWEST) * 255)  # 0 sd

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        """Tiles wide and tight of a B-scan (H, W) or (H, W, 3); raises ``UnusableImage`` if no layer is found."""
        scan = read_scan(image)
        membrane = find_membrane(scan.gray, scan.valid)
        planes = [_centre(_halve(mask.astype(np.float32), scan.halved))[0] for mask in masks.values()]
        tiles = []
        for slot, rows in SLOTS.items():
            gray, share = resample(scan.gray, scan.valid, membrane, rows)
            valid = share >= 0.5
            if valid.mean() < LEAST_SCORED:
                raise UnusableImage(f"slot {slot}: only {valid.mean():.0%} of the tile lies in the image")
            marked = [resample(plane, scan.valid, membrane, rows)[0] >= 0.5 for plane in planes]
            lesions = np.array(marked, np.bool_).reshape(len(marked), TILE, TILE) & valid
            pixels, codes = standardised(gray, valid, self.neutral), np.where(valid, SCORED, NO_DATA).astype(np.uint8)
            tiles.append(SlotTile(slot, pixels[None], codes, lesions, _transform(scan, membrane, rows, image)))
        return tuple(tiles)


def read_scan(image: NDArray[np.uint8]) -> BScan:
    """Gray centre columns of a file at native scale, with padding and columns beyond the file marked invalid."""
    gray = (image if image.ndim == 2 else image[..., :3].mean(axis=2)).astype(np.float32)
    halved = 2 if gray.shape[1] >= HALVED_FROM else 1
    gray = _halve(gray, halved)
    height, width = gray.shape
    if height < SMALLEST[0] or width < SMALLEST[1]:
        least = f"at least {SMALLEST[0]}x{SMALLEST[1]} (height x width) expected"
        raise UnusableImage(f"a B-scan of {height}x{width} px is too small, {least}")
    centre, inside = _centre(gray)
    valid, _ = _centre((~padding(gray)).astype(np.float32))
    return BScan(gray=centre, valid=inside & (valid > 0), left=(width - COLUMNS) // 2, halved=halved)


def padding(gray: Floats) -> Mask:
    """White regions that touch the border of the file, dilated: the instrument's wedges and bands (H, W)."""
    white = (gray >= WHITE).astype(np.uint8)
    if not (white[[0, -1]].any() or white[:, [0, -1]].any()):
        return np.zeros(gray.shape, np.bool_)
    count, labels = cv2.connectedComponents(white, connectivity=8)
    areas = np.bincount(labels[white > 0], minlength=count)
    large = np.zeros(count, np.uint8)
    large[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = 1
    large &= areas > PADDING
    near = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    return np.asarray(cv2.dilate(large.take(labels), near) > 0)


def resample(
    values: Floats, valid: Mask, membrane: NDArray[np.float64], rows: tuple[int, int]
) -> tuple[Floats, Floats]:
    """A tile (TILE, TILE) of ``rows`` about the membrane: mean over valid pixels, and each cell's valid share."""
    step = (rows[1] - rows[0]) / TILE
    take = _area_means if step >= 1 else _interpolated
    top, height = membrane + rows[0], len(values)
    band = slice(max(0, int(top.min()) - 1), min(height, int(top.max()) + rows[1] - rows[0] + 3))
    held, weight = values[band] * valid[band], valid[band].astype(np.float32)
    cells = take(np.stack([held, weight]), top - band.start, step)
    total, share = (cv2.resize(part, (TILE, TILE), interpolation=cv2.INTER_AREA) for part in cells)
    return np.where(share > 1e-3, total / np.maximum(share, 1e-3), 0).astype(np.float32), share


def _area_means(planes: Floats, top: NDArray[np.float64], step: float) -> Floats:
    """Means (P, TILE, W) of planes (P, H, W) over cells of ``step`` rows from pixel centre ``top`` on.

    Rows beyond the planes count as 0.
    """
    count, height, width = planes.shape
    sums = np.zeros((count, height + 1, width), np.float64)  # here pixel y covers y to y+1
    for row in range(height):  # much faster than np.cumsum along the long stride
        np.add(sums[:, row], planes[:, row], out=sums[:, row + 1])
    edges = top[None, :] + 0.5 + step * np.arange(TILE + 1)[:, None]
    return np.asarray(np.diff(_linear(sums, np.clip(edges, 0, height)), axis=1) / step, np.float32)


def _interpolated(planes: Floats, top: NDArray[np.float64], step: float) -> Floats:
    """Values (P, TILE, W) of planes (P, H, W) interpolated at the centres of cells of ``step`` rows.

    Rows beyond the planes count as 0.
    """
    framed = np.pad(planes, ((0, 0), (1, 1), (0, 0)))
    centres = top[None, :] + step * (np.arange(TILE)[:, None] + 0.5)
    return np.asarray(_linear(framed, np.clip(centres + 1, 0, framed.shape[1] - 1)), np.float32)


def _linear(tables: NDArray[np.floating], rows: NDArray[np.float64]) -> NDArray[np.floating]:
    """Each column of tables (P, R, W) linearly interpolated at ``rows`` (n, W) within 0…R-1: (P, n, W)."""
    count, height, width = tables.shape
    low = np.minimum(rows.astype(np.intp), height - 2)
    share = rows - low
    low *= width
    low += np.arange(width)
    flat = tables.reshape(count, -1)
    start = flat.take(low, axis=1, mode="clip")  # places lie inside; other modes copy once more
    low += width
    return np.asarray(start + share * (flat.take(low, axis=1, mode="clip") - start))


def standardised(gray: Floats, valid: Mask, neutral: int) -> NDArray[np.uint8]:
    """Square root, standardised by mean and sd of the valid pixels, clipped and coded 0-255; ``neutral`` elsewhere."""
    root = np.sqrt(np.maximum(gray, 0))
    spread = float(root[valid].std())
    if spread < 1e-3:
        raise UnusableImage("blank tile: all valid pixels have the same value")
    z = np.clip((root - root[valid].mean()) / spread, LOWEST, HIGHEST)
    coded = np.rint((z - LOWEST) / (HIGHEST - LOWEST) * 255)
    return np.where(valid, coded, neutral).astype(np.uint8)


def _halve(values: Floats, factor: int) -> Floats:
    """Mean of ``factor`` neighbouring columns; a last odd column is dropped."""
    width = values.shape[1] // factor
    return np.asarray(values[:, : width * factor].reshape(len(values), width, factor).mean(axis=2), np.float32)


def _centre(values: Floats) -> tuple[Floats, Mask]:
    """The centre columns (H, COLUMNS) and where they lie in the file."""
    height, width = values.shape
    left = (width - COLUMNS) // 2
    source = slice(max(left, 0), min(left + COLUMNS, width))
    target = slice(source.start - left, source.stop - left)
    centre, inside = np.zeros((height, COLUMNS), np.float32), np.zeros((height, COLUMNS), np.bool_)
    centre[:, target], inside[:, target] = values[:, source], True
    return centre, inside


def _transform(
    scan: BScan, membrane: NDArray[np.float64], rows: tuple[int, int], image: NDArray[np.uint8]
) -> TileTransform:
    """Tile to file: pixel centre c of a halved file lies at 2c + 0.5, and the curve is the membrane itself."""
    dx, dy = scan.halved * len(membrane) / TILE, (rows[1] - rows[0]) / TILE
    first, count = scan.left * scan.halved, len(membrane) * scan.halved
    native = (np.arange(count) + 0.5) / scan.halved - 0.5
    curve = np.round(np.interp(native, np.arange(len(membrane)), membrane), 3)
    x0, y0 = first + dx / 2 - 0.5, rows[0] + dy / 2
    return TileTransform(image.shape[0], image.shape[1], x0, dx, y0, dy, tuple(curve.tolist()), float(first))
