"""The head fills its tile, the ground is one constant, and every tile pixel knows where it came from."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import UnusableImage
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE
from pipeline.forms.head import InnerHeadForm, robust_units

Gray = NDArray[np.uint8]
FORM = InnerHeadForm()


def head(height: int = 300, width: int = 260, *, centre: tuple[int, int] = (150, 130), ground: int = 4) -> Gray:
    """An ellipse with radii 110, 90 px, bright rim, textured inside."""
    ys, xs = np.mgrid[:height, :width]
    radius = np.hypot((ys - centre[0]) / 110, (xs - centre[1]) / 90)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(height, width)), 3)
    image = np.where(radius < 1, 100 + 150 * texture, ground)
    image[(radius < 1) & (radius > 0.93)] = 220
    return np.clip(image, 0, 255).astype(np.uint8)


def test_shapes_codes_and_neutral_ground() -> None:
    (tile,) = FORM.cut(head(), {})
    assert tile.pixels.shape == (1, TILE, TILE)
    assert tile.pixels.dtype == np.uint8
    assert set(np.unique(tile.validity)) == {NO_DATA, SEEN, SCORED}
    assert (tile.pixels[0][tile.validity == NO_DATA] == FORM.neutral).all()
    assert tile.lesions.shape == (0, TILE, TILE)
    inner = tile.pixels[0][tile.validity == SCORED]
    assert abs(np.median(inner) - FORM.neutral) <= 1


def test_the_transform_is_within_one_pixel_of_the_head() -> None:
    image = head()
    (tile,) = FORM.cut(image, {"spot": spot(image.shape, 120, 150)})
    rows, cols = np.nonzero(tile.lesions[0])
    y, x = tile.transform.to_image(rows.mean(), cols.mean())
    assert abs(y - 120) < 1
    assert abs(x - 150) < 1
    back = tile.transform.paint(tile.lesions[0].astype(np.float32))
    centre = ndimage.center_of_mass(np.nan_to_num(back))
    assert np.abs(np.subtract(centre, (120, 150))).max() < 1
    again = tile.transform.to_tile(*tile.transform.to_image(np.array([0.0, 255.0]), np.array([0.0, 255.0])))
    assert np.allclose(again, [[0, 255], [0, 255]])


def spot(shape: tuple[int, ...], row: int, col: int) -> NDArray[np.bool_]:
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(ys - row, xs - col) < 6


def test_place_size_window_and_ground_of_the_file_do_not_matter() -> None:
    image = head()
    (plain,) = FORM.cut(image, {})
    inner = plain.validity == SCORED
    moved = head(420, 380, centre=(240, 200))
    larger = cv2.resize(image, (520, 600), interpolation=cv2.INTER_LINEAR)
    darker = (image * 0.6).astype(np.uint8)
    assert FORM.cut(moved, {})[0].transform.dx == pytest.approx(plain.transform.dx, rel=0.02)
    for other in (larger, darker):
        (tile,) = FORM.cut(np.asarray(other, np.uint8), {})
        assert np.corrcoef(tile.pixels[0][inner], plain.pixels[0][inner])[0, 1] > 0.97
    noisy_ground = np.where(image < 10, 14, image).astype(np.uint8)
    (tile,) = FORM.cut(noisy_ground, {})
    assert (tile.pixels[0][tile.validity == NO_DATA] == FORM.neutral).all()


def test_bright_border_lines_are_no_head() -> None:
    framed = head()
    framed[:3], framed[-3:], framed[:, :3], framed[:, -3:] = 255, 255, 255, 255
    (plain,), (tile,) = FORM.cut(head(), {}), FORM.cut(framed, {})
    assert abs(tile.transform.y0 - plain.transform.y0) < 3
    assert abs(tile.transform.dx - plain.transform.dx) < 0.02


def test_colour_files_are_taken() -> None:
    grey = head()
    (colour,), (plain,) = FORM.cut(np.repeat(grey[..., None], 3, axis=2), {}), FORM.cut(grey, {})
    assert np.abs(colour.pixels.astype(int) - plain.pixels).max() <= 1


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((200, 200), np.uint8), "blank"),
        (np.full((200, 200), 255, np.uint8), "blank"),
        (np.full((20, 200), 9, np.uint8), "at least 32 px"),
        (np.pad(np.full((8, 8), 200, np.uint8), 100), "no head"),
    ],
)
def test_images_without_a_head_are_unusable(image: Gray, reason: str) -> None:
    with pytest.raises(UnusableImage, match=reason):
        FORM.cut(image, {})


def test_a_flat_head_is_unusable() -> None:
    values = np.full((TILE, TILE), 7, np.float32)
    with pytest.raises(UnusableImage, match="flat"):
        robust_units(values, np.ones((TILE, TILE), bool))


def test_real_files_are_cut(real_raw: Path) -> None:
    files = sorted((real_raw / "brain_mri/sartaj/Testing").glob("*/*"))[::40]
    for file in files:
        (tile,) = FORM.cut(np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), np.uint8), {})
        assert 0.3 < (tile.validity == SCORED).mean() < 0.9
