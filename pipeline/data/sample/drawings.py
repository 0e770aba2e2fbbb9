"""Drawn anatomy: simple normals of three kinds, and lesions planted in them; uint8, from a generator alone."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float32]
OctKind = Literal["normal", "CNV", "DME", "DRUSEN"]

OCT_HEIGHT = 496  # px
FUNDUS = (712, 1072)  # height, width in px: a quarter of the official 2848×4288
LAYERS = ((-178, 9, 150), (-140, 22, 95), (-104, 10, 55), (-90, 9, 85), (-30, 4, 110), (-11, 7, 205), (30, 26, 80))
"""Retinal layers: rows above (−) or below Bruch's membrane, half thickness (px), brightness (0-255)."""


def noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Field:
    """Smooth random field of mean 0 and standard deviation 1; ``sigma`` in px, drawn coarsely where it is large."""
    step = max(1, int(sigma / 3))
    small = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2)).astype(np.float32)
    field = cv2.GaussianBlur(small, (0, 0), max(sigma / step, 0.3))
    field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def eight_bits(values: NDArray[np.floating], highest: int = 255) -> Image:
    """Values cut to 0…``highest`` and stored as uint8."""
    return np.asarray(np.clip(values, 0, highest), np.uint8)


def disc(ys: Field, xs: Field, y: float, x: float, ry: float, rx: float, soft: float = 0.15) -> Field:
    """1 inside an ellipse, 0 outside, with a rim that is ``soft`` of the radius wide."""
    distance = np.sqrt(((ys - y) / ry) ** 2 + ((xs - x) / rx) ** 2)
    return np.asarray(np.clip((1 - distance) / soft + 0.5, 0, 1), np.float32)


def taken(rng: np.random.Generator, image: Field, grain: tuple[float, float], blur: tuple[float, float]) -> Field:
    """An image as one of many devices takes it: contrast, sharpness and grain differ from image to image.

    ``image`` (H, W) or (H, W, 3) in gray levels; ``grain`` standard deviations in gray levels, ``blur`` widths in px.
    """
    sharp = cv2.GaussianBlur(image * rng.uniform(0.8, 1.1), (0, 0), rng.uniform(*blur))
    return np.asarray(sharp + rng.normal(0, rng.uniform(*grain), image.shape), np.float32)


def oct_scan(rng: np.random.Generator, width: int, kind: OctKind = "normal") -> Image:
    """B-scan (496, width): layers above a curved membrane, a foveal pit, speckle, sometimes a white wedge."""
    ys, xs = np.mgrid[:OCT_HEIGHT, :width].astype(np.float32)
    middle = width / 2 + rng.uniform(-40, 40)
    u = (xs[0] - width / 2) / (width / 2)
    membrane = rng.uniform(300, 350) + rng.uniform(-22, 22) * u + rng.uniform(5, 28) * u**2
    lift, spots = _oct_lesion(rng, kind, xs[0], middle, membrane)
    pit = np.exp(-0.5 * ((xs[0] - middle) / rng.uniform(45, 70)) ** 2) * rng.uniform(0.3, 0.6)
    thickness = rng.uniform(0.88, 1.12) * (1 - pit)
    depth = ys - membrane
    waves = rng.uniform(3, 6) * noise(rng, (1, width), 20)[0]  # px by which layers leave the membrane's course
    image = np.full(ys.shape, 18, np.float32)
    for row, half, level in LAYERS:
        if row > 0:  # choroid: lies below, follows the membrane and fades
            band = np.exp(-0.5 * ((depth - row) / half) ** 2) * (1 + 0.25 * noise(rng, ys.shape, 6))
        else:
            rows = row * (thickness if row < -50 else 1.0) - lift - waves
            band = np.exp(-0.5 * ((depth - rows) / half) ** 2)
        image = np.maximum(image, level * rng.uniform(0.88, 1.12) * band)
    for y, x, ry, rx, shade in spots:
        inside = disc(ys, xs, y, x, ry, rx)
        image = image * (1 - inside) + shade * inside
    image *= 1 + 0.05 * noise(rng, ys.shape, 40)
    image = image * (1 + rng.uniform(0.08, 0.24) * noise(rng, ys.shape, 0.8))
    scan = eight_bits(taken(rng, image, (1.5, 6), (0.3, 1.2)), 240)
    if rng.random() < 0.35:
        slope, start = rng.uniform(0.05, 0.2), rng.uniform(-20, 30)
        side = xs if rng.random() < 0.5 else width - xs
        scan[ys < start + slope * (side - width / 2)] = 255
    return scan


def _oct_lesion(
    rng: np.random.Generator, kind: OctKind, xs: Field, middle: float, membrane: Field
) -> tuple[Field, list[tuple[float, float, float, float, float]]]:
    """Height by which layers are lifted off the membrane in each column (px), and blobs: y, x, radii, brightness."""
    lift = np.zeros_like(xs)
    spots: list[tuple[float, float, float, float, float]] = []

    def level(x: float) -> float:
        return float(np.interp(x, xs, membrane))

    if kind == "DRUSEN":
        for x in middle + rng.uniform(-150, 150, rng.integers(3, 6)):
            lift += rng.uniform(11, 16) * np.exp(-0.5 * ((xs - x) / rng.uniform(9, 16)) ** 2)
    elif kind == "CNV":
        x, high = middle + rng.uniform(-40, 40), rng.uniform(30, 42)
        lift += high * np.exp(-0.5 * ((xs - x) / rng.uniform(45, 70)) ** 2)
        spots.append((level(x) - high * 0.45, x, high * 0.35, rng.uniform(45, 70), 150))
        spots.append((level(x) - high - 25, x + rng.uniform(-50, 50), 10, 40, 12))
    elif kind == "DME":
        for x in middle + rng.uniform(-120, 120, rng.integers(5, 9)):
            y = level(x) - rng.uniform(60, 120)
            spots.append((y, float(x), rng.uniform(10, 22), rng.uniform(14, 30), 14))
    return lift, spots


def fundus(rng: np.random.Generator) -> Image:
    """Normal fundus photograph (712, 1072, 3): round field cut above and below, optic disc, vessels, fovea."""
    height, width = FUNDUS
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    cy, cx = height / 2, width / 2 + rng.uniform(-15, 15)
    ly, lx = cy + rng.uniform(-150, 150), cx + rng.uniform(-150, 150)  # where the light falls
    radius = rng.uniform(405, 425)
    shade = 1 - rng.uniform(0.2, 0.35) * ((ys - ly) ** 2 + (xs - lx) ** 2) / radius**2
    shade += rng.uniform(0.01, 0.04) * noise(rng, FUNDUS, 60)
    colour = np.array([rng.uniform(165, 205), rng.uniform(78, 100), rng.uniform(30, 48)], np.float32)
    grain = rng.uniform(0.005, 0.035) * noise(rng, FUNDUS, rng.uniform(1.2, 2.4))
    image = shade[..., None] * colour * (1 + grain[..., None])
    side = 1 if rng.random() < 0.5 else -1
    dy, dx = cy + rng.uniform(-70, 70), cx + side * rng.uniform(200, 280)
    fovea = np.exp(-0.5 * (((ys - (cy + 15)) / 52) ** 2 + ((xs - (cx - side * 10)) / 52) ** 2))
    image *= 1 - 0.5 * fovea[..., None]
    head = disc(ys, xs, dy, dx, 80, 74, 0.5)[..., None]
    image = image * (1 - head) + head * np.array([242, 190, 110], np.float32) * shade[..., None]
    vessels = _vessels(rng, (dy, dx), -side, (cy, cx))[..., None]
    image *= 1 - vessels * np.array([0.1, 0.18, 0.15], np.float32) * rng.uniform(0.9, 1.4)
    image = taken(rng, image.astype(np.float32), (0.3, 2.5), (0.3, 2.0))
    image[(ys - cy) ** 2 + (xs - cx) ** 2 > radius**2] = 0
    return eight_bits(image)


def _vessels(rng: np.random.Generator, start: tuple[float, float], side: int, centre: tuple[float, float]) -> Field:
    """Darkness 0-1 of vessel trees: arcades from the disc around the fovea and branches off them."""
    dark = np.zeros(FUNDUS, np.float32)
    for vertical in (-1, 1):
        for reach, calibre in ((1.0, 30.0), (0.5, 24.0)):
            t = np.linspace(0, 1, 60)
            height = vertical * reach * rng.uniform(190, 260)
            wiggle = np.cumsum(rng.standard_normal(60)) * 1.5
            xs = start[1] + side * t * rng.uniform(420, 560) + wiggle
            ys = start[0] + height * np.sin(np.pi * np.minimum(t * rng.uniform(0.7, 0.95), 1)) + wiggle[::-1] * t
            _trace(dark, ys, xs, calibre)
            for root in rng.integers(15, 45, 1):
                angle = np.arctan2(ys[root] - centre[0], xs[root] - centre[1]) + rng.uniform(-1.2, 1.2)
                length = np.linspace(0, rng.uniform(60, 170), 20)
                bend = np.cumsum(rng.standard_normal(20)) * 2
                _trace(dark, ys[root] + length * np.sin(angle) + bend, xs[root] + length * np.cos(angle), calibre / 2)
    return np.asarray(cv2.GaussianBlur(dark, (0, 0), 5.0), np.float32)


def _trace(canvas: Field, ys: NDArray[np.float64], xs: NDArray[np.float64], calibre: float) -> None:
    for i in range(len(ys) - 1):
        width = max(1, round(calibre * (1 - 0.75 * i / len(ys))))
        ends = [(round(float(x) * 8), round(float(y) * 8)) for x, y in zip(xs[i : i + 2], ys[i : i + 2], strict=True)]
        cv2.line(canvas, ends[0], ends[1], 0.6, width, cv2.LINE_AA, 3)


def plant_fundus_lesions(
    rng: np.random.Generator, image: Image, lesions: tuple[str, ...]
) -> tuple[Image, dict[str, NDArray[np.bool_]]]:
    """The fundus image with lesions of the given names (MA, HE, EX, SE), and the (H, W) mask of each."""
    looks = {  # number, radius (px), colour factors
        "MA": (8, (2.5, 4.5), (0.8, 0.55, 0.6)),
        "HE": (4, (9, 18), (0.7, 0.5, 0.55)),
        "EX": (12, (3, 7), (1.15, 1.6, 1.5)),
        "SE": (2, (14, 22), (1.1, 1.4, 1.5)),
    }
    ys, xs = np.mgrid[: FUNDUS[0], : FUNDUS[1]].astype(np.float32)
    pixels, masks = image.astype(np.float32), {}
    for name in lesions:
        number, radii, factors = looks[name]
        marked = np.zeros(FUNDUS, np.float32)
        cluster = rng.uniform((-140, -160), (140, 160))
        for _ in range(number):
            spread = rng.normal(0, 45, 2) + cluster if name == "EX" else rng.uniform((-240, -260), (240, 260))
            radius = rng.uniform(*radii)
            y, x = FUNDUS[0] / 2 + spread[0], FUNDUS[1] / 2 + spread[1]
            marked = np.maximum(marked, disc(ys, xs, y, x, radius, radius * rng.uniform(0.8, 1.3), 0.3))
        pixels *= 1 + marked[..., None] * (np.array(factors, np.float32) - 1)
        masks[name] = marked >= 0.5
    return eight_bits(pixels), masks


def head_slice(rng: np.random.Generator, shape: tuple[int, int], tumour: bool = False) -> Image:
    """Axial head (H, W): bright scalp ring, dark skull, gray and white matter, ventricles; a bright tumour if asked."""
    height, width = shape
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    turn = rng.uniform(-0.25, 0.25)
    v = (ys - height / 2) / (height * rng.uniform(0.40, 0.46))
    h = (xs - width / 2) / (width * rng.uniform(0.38, 0.46))
    y, x = v * np.cos(turn) - h * np.sin(turn), v * np.sin(turn) + h * np.cos(turn)
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for order in (2, 3, 4, 5):
        outline += rng.normal(0, 0.028) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    r = np.hypot(y, x) / outline
    skull, brain = rng.uniform(0.90, 0.95), rng.uniform(0.80, 0.87)
    side = min(shape)
    inner = 0.62 * brain * (1 + 0.05 * np.cos(rng.integers(5, 9) * angle + rng.uniform(0, 2 * np.pi)))
    tissue = 158 - 62 * np.clip((r - inner) / 0.06 + 0.5, 0, 1)  # white matter inside a ribbon of gray matter
    tissue += rng.uniform(3, 7) * noise(rng, shape, side * 0.12) + rng.uniform(1.5, 4) * noise(rng, shape, side * 0.02)
    for sign in (-1, 1):
        size = rng.uniform(0.19, 0.29), rng.uniform(0.085, 0.135)
        at = rng.uniform(-0.13, 0.13), sign * rng.uniform(0.145, 0.215)
        tissue -= 100 * disc(y, x, at[0], at[1], size[0], size[1], 0.3)
    tissue -= 40 * np.exp(-0.5 * (x / 0.02) ** 2) * (np.abs(y) > rng.uniform(0.3, 0.6))
    if tumour:
        away, towards = rng.uniform(0.15, 0.55), rng.uniform(0, 2 * np.pi)
        radii = rng.uniform(0.15, 0.25, 2)
        tissue += 115 * disc(y, x, away * np.sin(towards), away * np.cos(towards), radii[0], radii[1], 0.3)
    image = np.where(r < brain, np.clip(tissue, 15, 250), 14)
    image = np.where((r > skull) & (r < 1), rng.uniform(170, 225), image)
    image = np.where(r >= 1, 2, image).astype(np.float32)
    return eight_bits(taken(rng, image, (1.5, 4.5), (side / 400, side / 150)))
