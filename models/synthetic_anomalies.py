"""Synthetic lesions pasted on one normal image, to measure repair and detection without real lesions.

A lesion is a soft shape of random place, size, sign and strength, added to the canonical image inside the scored area.
`models.methods.makers` draws similar shapes on batches of tensors, for training, which must use none of `HELD_BACK`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.scoring import Array, Mask

Shape = Callable[[Array, Array, float, np.random.Generator], Array]
"""Coordinates (H, W) in units of the half-axes, the shorter half-axis in px, a generator → weight (H, W) in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class LesionConfig:
    """Kinds, sizes, strengths and number of synthetic lesions."""

    radius: tuple[float, float] = (0.06, 0.18)  # half-axes, share of the canvas's side, log-uniform
    strength: tuple[float, float] = (0.1, 0.3)  # largest change of the image in [0, 1], log-uniform, either sign
    count: tuple[int, int] = (1, 1)  # lesions an image, from and to
    kinds: tuple[str, ...] = ("blob", "ring", "noise", "dots")  # keys of SHAPES; every lesion draws one


def _noise(u: Array, v: Array, radius: float, rng: np.random.Generator) -> Array:
    """Thresholded smooth noise inside an ellipse: an irregular outline, sometimes several pieces."""
    field = ndimage.gaussian_filter(rng.standard_normal(u.shape, np.float32), max(radius / 3, 0.7))
    inside = np.hypot(u, v) < 1.2
    if not inside.any():
        return np.zeros_like(u)
    level, spread = np.quantile(field[inside], 0.5), max(float(field[inside].std()), 1e-9)
    return np.asarray(_soft((field - level) / spread) * _soft(1.2 - np.hypot(u, v)), np.float32)


def _dots(u: Array, v: Array, radius: float, rng: np.random.Generator) -> Array:
    """A cluster of 3 to 8 small dots."""
    total = np.zeros_like(u)
    for _ in range(int(rng.integers(3, 9))):
        angle, away = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        near = np.hypot(u - away * np.cos(angle), v - away * np.sin(angle))
        total = np.maximum(total, _soft((0.25 - near) / 0.25))
    return total


def _streak(u: Array, v: Array, radius: float, rng: np.random.Generator) -> Array:
    """A bent line."""
    bend = rng.uniform(-1, 1)
    return _soft(np.minimum(0.25 - np.abs(v - bend * (u**2 - 0.5)), 1.2 - np.abs(u)))


HELD_BACK = ("streak", "square")
"""Kinds reserved for measuring: every configuration that trains checks with `require_trainable` that it names none."""


def require_trainable(kinds: Iterable[str], where: str) -> None:
    """Raise ``ValueError`` if ``kinds``, those of the training configuration ``where``, contain one held back."""
    if found := [kind for kind in kinds if kind in HELD_BACK]:
        held = f"{', '.join(found)} held back to measure kinds unseen in training"
        raise ValueError(f"{where}: {held}; choose other kinds")


SHAPES: Mapping[str, Shape] = {
    "blob": lambda u, v, *_: _soft(1 - np.hypot(u, v)),  # a filled ellipse with a soft edge
    "ring": lambda u, v, *_: _soft(0.25 - np.abs(np.hypot(u, v) - 0.75)),  # the rim of an ellipse
    "noise": _noise,
    "dots": _dots,
    "streak": _streak,
    "square": lambda u, v, *_: np.asarray(np.maximum(np.abs(u), np.abs(v)) < 0.9, np.float32),  # hard edges
}


def paste_lesions(image: Array, area: Mask, config: LesionConfig, rng: np.random.Generator) -> tuple[Array, Mask, str]:
    """Paste lesions centred in ``area`` (H, W) on a copy of an image (C, H, W) in [0, 1]: copy, mask, first kind.

    A lesion has a random colour if there are several channels, else a random sign. The mask (H, W) marks the pixels of
    the area changed by at least half a lesion's strength. ``ValueError`` for an empty area.
    """
    places = np.argwhere(area)
    if not len(places):
        raise ValueError("paste_lesions: expected an area with pixels to paste on, got none")
    altered, mask, drawn = image.astype(np.float32, copy=True), np.zeros(area.shape, bool), list[str]()
    for _ in range(int(rng.integers(config.count[0], config.count[1] + 1))):
        kind = config.kinds[int(rng.integers(len(config.kinds)))]
        drawn.append(kind)
        centre = places[int(rng.integers(len(places)))]
        box, weight = _weight(kind, centre, _log_uniform(config.radius, rng, 2) * min(area.shape), area.shape, rng)
        strength, colour = _log_uniform(config.strength, rng, 1)[0], rng.standard_normal(len(image))
        change = strength * np.asarray(colour / np.abs(colour).max(), np.float32)[:, None, None]
        part = altered[:, box[0], box[1]]
        part[:] = np.clip(part + np.where(area[box], change * weight, 0), 0, 1)
        mask[box] |= (weight >= 0.5) & area[box]
    return altered, mask, drawn[0] if drawn else ""


def _weight(
    kind: str, centre: NDArray[np.intp], axes: NDArray[np.float64], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[tuple[slice, slice], Array]:
    """The box around a lesion and its weight there; outside the box it is 0."""
    reach = int(np.ceil(2 * axes.max())) + 2
    down, along = (slice(max(at - reach, 0), min(at + reach + 1, side)) for at, side in zip(centre, shape, strict=True))
    rows, cols = np.mgrid[down, along].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    dy, dx = rows - centre[0], cols - centre[1]
    u = (dy * np.cos(turn) + dx * np.sin(turn)) / axes[0]
    v = (dx * np.cos(turn) - dy * np.sin(turn)) / axes[1]
    return (down, along), SHAPES[kind](u, v, float(axes.min()), rng)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.exp(rng.uniform(float(np.log(limits[0])), float(np.log(limits[1])), count))


def _soft(inside: NDArray[np.floating]) -> Array:
    """0 to 1 over the edge; 0.5 where ``inside`` is 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(inside / 0.12, -50, 50))), np.float32)
