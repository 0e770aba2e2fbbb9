"""The fundus forms on drawn eyes: field, flattening, disc, mirroring and the way back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import UnusableImage
from pipeline.forms import FORMS
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE, Form, SlotTile, slots
from pipeline.forms.fundus import GRID, RANGE, encode
from pipeline.forms.fundus_landmarks import CANVAS, REFERENCE, RIM, find_field

HEIGHT, WIDTH = 712, 1072
FLAT, AS_PHOTOGRAPHED = FORMS["flat_field"], FORMS["field_of_view"]
NO_MASKS = {name: np.zeros((HEIGHT, WIDTH), bool) for name in ("MA", "HE")}


def eye(disc: tuple[int, int] = (360, 300), shade: float = 0.5) -> np.ndarray:
    """A round field cut off at the top and the bottom, uneven light, a disc, a fovea, vessels, one red spot."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    field = np.hypot(y - 356, x - 530) < 430
    retina = np.full((HEIGHT, WIDTH), 110.0)
    retina *= 1 - shade * (x / WIDTH)
    retina *= 1 + 0.8 / (1 + np.exp((np.hypot(y - disc[0], x - disc[1]) - 55) / 4))
    retina *= 1 - 0.4 * np.exp(-(((y - disc[0] - 27) / 45) ** 2) - ((x - disc[1] - 300) / 45) ** 2)
    for bow in (-240, 240):
        curve = disc[0] + bow * np.sqrt(np.clip((x - disc[1]) / 500, 0, 1))
        retina *= 1 - 0.35 * ((np.abs(y - curve) < 5) & (x > disc[1]))
    retina[200:206, 700:706] *= 0.5
    image = np.stack([retina * 1.6, retina, retina * 0.4], axis=2)
    return np.where(field[..., None], np.clip(image, 0, 255), 2).astype(np.uint8)


def canvas_of(tiles: tuple[SlotTile, ...], field: str = "pixels") -> np.ndarray:
    parts = [getattr(tile, field) for tile in tiles]
    return np.block([parts[GRID * row :][:GRID] for row in range(GRID)])


def decode(codes: np.ndarray) -> np.ndarray:
    """Log residuals of the codes of a tile."""
    return (codes.astype(np.float32) / 255 - 0.5) * 2 * RANGE


def test_tiles_follow_the_slots_and_their_shapes() -> None:
    form = FLAT
    tiles = form.cut(eye(), NO_MASKS)
    assert [tile.slot for tile in tiles] == [slot.name for slot in slots(form.canvases)]
    for tile in tiles:
        assert tile.pixels.shape == (1, TILE, TILE)
        assert tile.lesions.shape == (2, TILE, TILE)
        assert tile.validity.dtype == tile.pixels.dtype == np.uint8
        assert (tile.pixels[0][tile.validity == NO_DATA] == form.neutral).all()
    assert FORMS["flat_field_rgb"].cut(eye(), {})[0].pixels.shape == (3, TILE, TILE)


def test_validity_is_the_field_with_a_thin_unscored_rim() -> None:
    validity = find_field(eye()).validity()
    scored = (validity == SCORED).astype(np.uint8)
    width = 2 * RIM + 1
    grown = cv2.dilate(scored, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width + 4, width + 4)))
    assert scored.mean() > 0.6
    assert (validity == SEEN).sum() > 1000
    assert (grown[validity == SEEN] == 1).all()
    assert validity[384, 1] == SEEN
    assert validity[5, 384] == NO_DATA


def test_uneven_light_is_taken_out() -> None:
    flat = decode(canvas_of(FLAT.cut(eye(shade=0.6), {}))[0])
    raw = canvas_of(AS_PHOTOGRAPHED.cut(eye(shade=0.6), {}))[0].astype(float)
    assert abs(np.median(flat[330:430, 520:600]) - np.median(flat[330:430, 280:340])) < 0.03
    assert abs(np.log(raw[330:430, 520:600].mean() / raw[330:430, 280:340].mean())) > 0.2


def test_the_mirrored_eye_gives_the_same_canvas() -> None:
    left = FLAT.cut(eye(), {})
    right = FLAT.cut(np.ascontiguousarray(eye()[:, ::-1]), {})
    assert left[0].transform.dx > 0 > right[0].transform.dx
    difference = canvas_of(left).astype(int) - canvas_of(right)
    assert np.abs(difference)[0, canvas_of(left, "validity") == SCORED].mean() < 2
    assert left[0].offset == pytest.approx(right[0].offset, abs=6)


@pytest.mark.parametrize("disc", [(360, 260), (330, 300), (390, 340)])
def test_the_offset_says_where_the_disc_lies(disc: tuple[int, int]) -> None:
    tiles = FLAT.cut(eye(disc), {})
    field = find_field(eye(disc))
    row = (disc[0] - field.top) / field.scale
    col = (disc[1] - field.left) / field.scale
    assert np.add(tiles[4].offset, REFERENCE) == pytest.approx([row, col], abs=8)
    assert len({tile.offset for tile in tiles}) == 1


@pytest.mark.parametrize("form", [FLAT, AS_PHOTOGRAPHED])
@pytest.mark.parametrize("turn", [1, -1])
def test_a_planted_spot_comes_back_to_its_place(form: Form, turn: int) -> None:
    image = np.ascontiguousarray(eye()[:, ::turn])
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[420:429, 640:649] = True
    found = []
    for tile in form.cut(image, {"MA": mask}):
        rows, cols = np.nonzero(tile.lesions[0])
        if rows.size:
            ys, xs = tile.transform.to_image(rows.astype(float), cols.astype(float))
            found.append((ys.mean(), xs.mean(), rows.size))
    weights = [count for *_, count in found]
    assert np.average([y for y, *_ in found], weights=weights) == pytest.approx(424, abs=1)
    assert np.average([x for _, x, _ in found], weights=weights) == pytest.approx(644, abs=1)


def test_codes_hold_faint_residuals_and_zero_is_neutral() -> None:
    residual = np.linspace(-0.88, 0.88, 1001, dtype=np.float32)
    assert np.abs(decode(encode(residual)) - residual).max() < 0.004
    assert encode(np.zeros(1, np.float32))[0] == FLAT.neutral == 128
    assert encode(np.array([-9.0, 9.0], np.float32)).tolist() == [0, 255]


@pytest.mark.parametrize(
    "image", [np.zeros((300, 400, 3), np.uint8), np.full((40, 40), 200, np.uint8), np.eye(500, dtype=np.uint8) * 255]
)
def test_an_image_without_a_field_is_unusable(image: np.ndarray) -> None:
    with pytest.raises(UnusableImage):
        FLAT.cut(image, {})


def test_a_real_photograph_is_cut(real_raw: Path) -> None:
    path = next((real_raw / "idrid").glob("A*/1*/*/IDRiD_13.jpg"), None)
    if path is None:
        pytest.skip("IDRiD_13 of the segmentation set is not there")
    image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    tiles = FLAT.cut(image, {})
    scored = canvas_of(tiles, "validity") == SCORED
    assert 0.6 < scored.mean() < 0.75
    assert np.abs(np.median(decode(canvas_of(tiles)[0])[scored])) < 0.05
    assert scored.shape == (CANVAS, CANVAS)
