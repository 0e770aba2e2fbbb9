"""The OCT form flattens planted layers, paints nothing where nothing was imaged, and leads heat maps back."""

import numpy as np
import pytest

from pipeline.errors import UnusableImage
from pipeline.forms.bruch_membrane import find_membrane
from pipeline.forms.form import NO_DATA, SCORED, TILE, TileTransform, slots
from pipeline.forms.oct import BruchMembraneForm, read_scan

FORM = BruchMembraneForm()


def membrane_of(width: int, *, tilt: float = 0.05, bend: float = 30.0, level: float = 320.0) -> np.ndarray:
    """Row of the planted membrane: a bent, tilted line, given about the middle of the file."""
    x = np.arange(width) - (width - 1) / 2
    return level + tilt * x - bend * (x / 256) ** 2


def b_scan(width: int = 512, height: int = 496, *, seed: int = 0, drusen: float = 0.0, **shape: float) -> np.ndarray:
    """A B-scan: dark vitreous, bright nerve fibres, gray retina, brightest RPE above the membrane, gray choroid."""
    noise = np.random.default_rng(seed).normal(0, 6, (height, 4096))[:, 2048 - width // 2 : 2048 - width // 2 + width]
    membrane = membrane_of(width, **shape)
    x = np.arange(width) - (width - 1) / 2
    lift = drusen * np.exp(-0.5 * ((x - 90) / 14) ** 2)
    depth = membrane - np.arange(height)[:, None]  # px above the membrane
    gray = np.full((height, width), 20.0)
    gray[depth < 130] = 130
    gray[depth < 110] = 80
    gray[depth < 30 + lift] = 60
    gray[depth < 14 + lift] = 200
    gray[(depth < lift) & (depth >= 0)] = 120
    gray[depth < 0] = 70 * np.exp(depth[depth < 0] / 120)
    return np.clip(gray + noise, 0, 235).astype(np.uint8)


def cut(image: np.ndarray) -> dict:
    return {tile.slot: tile for tile in FORM.cut(image, {})}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two tiles in units of one standard deviation."""
    return float(np.abs(a.pixels.astype(float) - b.pixels)[0][(a.validity > 0) & (b.validity > 0)].mean()) * 7 / 255


@pytest.mark.parametrize("shape", [{}, {"tilt": -0.2, "bend": -20.0}, {"bend": 60.0, "level": 380.0}])
def test_membrane_is_found_within_a_pixel(shape):
    scan = read_scan(b_scan(**shape))
    found = find_membrane(scan.gray, scan.valid)
    assert np.abs(found - membrane_of(512, **shape)).max() < 1.0


def test_drusen_stay_bumps():
    scan = read_scan(b_scan(drusen=18.0))
    found = find_membrane(scan.gray, scan.valid)
    assert np.abs(found - membrane_of(512)).max() < 1.5


def test_tiles_are_flat_and_coded():
    tiles = cut(b_scan())
    assert list(tiles) == [slot.name for slot in slots(FORM.canvases)] == ["wide", "tight"]
    for tile, row in ((tiles["wide"], 224 / 1.25), (tiles["tight"], 48 / 0.25)):
        assert tile.pixels.shape == (1, TILE, TILE)
        assert tile.pixels.dtype == tile.validity.dtype == np.uint8
        assert tile.lesions.shape == (0, TILE, TILE)
        fall = np.diff(tile.pixels[0].astype(float).mean(axis=1))
        assert abs(int(fall.argmin()) - row) <= 6
    columns = tiles["wide"].pixels[0].astype(float)[100:240]
    assert columns.std(axis=1).mean() < 0.5 * columns.std(axis=0).mean()


def test_neutral_is_the_code_of_zero_sd():
    assert FORM.neutral == round(2 / 7 * 255)
    tile = cut(b_scan())["wide"]
    inside = tile.pixels[0][tile.validity == SCORED].astype(float)
    assert inside.mean() == pytest.approx(FORM.neutral, abs=4)


def test_padding_holds_no_data():
    image = b_scan()
    wedge = np.arange(512)[None, :] + 2 * np.arange(496)[:, None] < 420
    padded = np.where(wedge, 255, image).astype(np.uint8)
    plain, tile = cut(image)["wide"], cut(padded)["wide"]
    painted = np.nan_to_num(tile.transform.paint((tile.validity == NO_DATA).astype(np.float32)), nan=0.0)
    reached = np.nan_to_num(tile.transform.paint(np.ones((TILE, TILE), np.float32)), nan=0.0) > 0
    assert painted[wedge & reached].mean() > 0.99
    assert (tile.pixels[0][tile.validity == NO_DATA] == FORM.neutral).all()
    assert difference(plain, tile) < 0.1


@pytest.mark.parametrize("side", ["top", "bottom"])
def test_white_bands_change_nothing_but_validity(side):
    image = b_scan()
    band = np.full((60, 512), 255, np.uint8)
    padded = np.vstack([band, image] if side == "top" else [image, band])
    for slot in FORM.canvases:
        assert difference(cut(image)[slot], cut(padded)[slot]) < 0.08


def test_width_of_the_file_does_not_show():
    narrow, wide = cut(b_scan(512)), cut(b_scan(768))
    for slot in FORM.canvases:
        assert (narrow[slot].validity == wide[slot].validity).mean() > 0.99
        assert difference(narrow[slot], wide[slot]) < 0.05


def test_densely_sampled_files_are_halved():
    image = b_scan(512)
    dense = np.repeat(image, 2, axis=1)
    for slot, tile in cut(image).items():
        other = cut(dense)[slot]
        assert np.array_equal(tile.pixels, other.pixels)
        assert other.transform.dx == 2 * tile.transform.dx


def test_columns_beyond_a_narrow_file_hold_no_data():
    tile = cut(b_scan(384))["wide"]
    assert (tile.validity[:, :30] == NO_DATA).all()
    assert (tile.validity[:, -30:] == NO_DATA).all()
    assert (tile.validity[150, 40:-40] == SCORED).all()


@pytest.mark.parametrize("width", [512, 768, 1024, 1536])
@pytest.mark.parametrize("slot", ["wide", "tight"])
def test_planted_spots_return_within_a_pixel(width, slot):
    native = 2 if width >= 1024 else 1
    image = np.repeat(b_scan(width // native), native, axis=1)
    transform = TileTransform.from_json(cut(image)[slot].transform.to_json())
    for row, col in [(40, 30), (128, 128), (200, 220), (90, 170), (230, 60)]:
        spot = np.zeros((TILE, TILE), np.float32)
        spot[row - 2 : row + 3, col - 2 : col + 3] = 1
        painted = np.nan_to_num(transform.paint(spot), nan=0.0)
        ys, xs = np.nonzero(painted > 0.5) if slot == "wide" else np.nonzero(painted == painted.max())
        y, x = transform.to_image(np.array([row]), np.array([col]))
        assert painted.shape == image.shape
        assert abs(ys.mean() - y[0]) <= 1
        assert abs(xs.mean() - x[0]) <= native
        back = transform.to_tile(y, x)
        assert np.allclose(np.ravel(back), [row, col], atol=1e-6)


def test_lesion_in_the_image_is_the_lesion_in_the_tile():
    image = b_scan(768)
    mask = np.zeros(image.shape, np.bool_)
    mask[300:312, 400:424] = True
    tile = FORM.cut(image, {"cyst": mask, "none": np.zeros_like(mask)})[0]
    rows, cols = np.nonzero(tile.lesions[0])
    y, x = tile.transform.to_image(rows.astype(float), cols.astype(float))
    assert tile.lesions.shape == (2, TILE, TILE)
    assert not tile.lesions[1].any()
    assert y.mean() == pytest.approx(305.5, abs=1)
    assert x.mean() == pytest.approx(411.5, abs=1)
    assert tile.lesions[0].sum() * tile.transform.dx * tile.transform.dy == pytest.approx(12 * 24, rel=0.15)


def test_same_image_same_tiles():
    image = b_scan(seed=3)
    for first, second in zip(FORM.cut(image, {}), BruchMembraneForm().cut(image.copy(), {}), strict=True):
        assert np.array_equal(first.pixels, second.pixels)
        assert first.transform == second.transform


def test_gray_and_colour_files_agree():
    image = b_scan()
    colour = np.repeat(image[..., None], 3, axis=2)
    assert np.array_equal(cut(image)["wide"].pixels, cut(colour)["wide"].pixels)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((496, 512), np.uint8), "blank"),
        (np.full((496, 512), 255, np.uint8), "padding"),
        (np.full((40, 40), 90, np.uint8), "too small"),
        (np.random.default_rng(0).integers(0, 200, (496, 512)).astype(np.uint8), "no layer found"),
    ],
)
def test_images_without_a_layer_are_refused(image, reason):
    with pytest.raises(UnusableImage, match=reason):
        FORM.cut(image, {})


def test_real_b_scans_are_cut(real_raw):
    import cv2

    files = sorted((real_raw / "oct" / "OCT2017" / "test").glob("*/*.jpeg"))[::125]
    if not files:
        pytest.skip("no OCT2017 test files below the raw folder")
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        for tile in FORM.cut(image, {}):
            assert (tile.validity == SCORED).mean() > 0.4, file.name
            assert tile.transform.height == image.shape[0]
