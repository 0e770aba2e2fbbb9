import cv2
import numpy as np

from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.frozen.heat import LEGEND, overlay, paint, regions
from pipeline.forms import FORMS

PEAKS = Calibration.of(np.linspace(1, 3.9, 30))


def cut(form, shape):
    rng = np.random.default_rng(0)
    down, along = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    image = (120 + 60 * (np.hypot(down, along) < 0.8) + rng.integers(0, 30, shape)).astype(np.uint8)
    return image, FORMS[form].cut(image, {})


def test_a_hot_pixel_is_painted_where_it_was_seen():
    image, tiles = cut("plain", (300, 500))
    heat = np.zeros((64, 64), np.float32)
    heat[16, 48] = 9.0
    full = paint(tiles, FORMS["plain"].canvases, {"image": heat})
    assert full.shape == image.shape
    row, col = np.unravel_index(np.nanargmax(full), full.shape)
    assert abs(row - (16.5 / 64 * 300 - 0.5)) < 3
    assert abs(col - (48.5 / 64 * 500 - 0.5)) < 4


def test_a_coarser_grid_shows_the_same_places():
    _, tiles = cut("plain", (300, 500))
    heat = cv2.GaussianBlur(np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32), (0, 0), 3)
    full = paint(tiles, FORMS["plain"].canvases, {"image": heat})
    coarse = paint(tiles, FORMS["plain"].canvases, {"image": heat}, longest=125)
    assert coarse.shape == (75, 125)
    assert np.abs(cv2.resize(full, (125, 75), interpolation=cv2.INTER_AREA) - coarse).max() < 0.05


def test_nothing_is_painted_outside_of_the_tiles():
    shape = (200, 320)
    image = np.zeros(shape, np.uint8)
    disc = np.hypot(*np.mgrid[-100:100, -160:160]) < 90
    image[disc] = np.random.default_rng(0).integers(90, 200, disc.sum())
    tiles = FORMS["inner_head"].cut(image, {})
    heat = paint(tiles, FORMS["inner_head"].canvases, {"head": np.ones((64, 64), np.float32)})
    assert np.isnan(heat[:, :60]).all()
    assert np.isfinite(heat[100, 160])


def test_regions_are_ordered_measured_in_image_px_and_rare_ones_named_rare():
    heat = np.zeros((50, 100), np.float32)
    heat[10:20, 10:30] = 4.0
    heat[15, 20] = 6.0
    heat[40:44, 90:94] = 3.5
    heat[0, 0] = 9.0  # a single px is no region
    found = regions(heat, (100, 200), PEAKS.threshold(0.2), PEAKS)
    assert [(one.x, one.y, one.width, one.height) for one in found] == [(20, 20, 40, 20), (180, 80, 8, 8)]
    assert (found[0].peak, found[0].peak_x, found[0].peak_y) == (6.0, 41, 31)
    assert found[0].area == 800
    assert found[0].false_alarm_rate == 1 / 31
    assert found[1].false_alarm_rate > found[0].false_alarm_rate


def test_an_overlay_has_one_scale_for_all_images():
    image, _ = cut("plain", (100, 200))
    cold = np.zeros((100, 200), np.float32)
    cold[40:60, 40:60] = 2.0
    hot = cold.copy()
    hot[40:60, 140:160] = 8.0
    shown = [cv2.imdecode(np.frombuffer(overlay(image, heat, 99.0, "x"), np.uint8), 1) for heat in (cold, hot)]
    assert shown[0].shape == (100 + LEGEND, 200, 3)
    np.testing.assert_array_equal(shown[0][:100, :130], shown[1][:100, :130])  # whatever else the image holds
    assert (shown[0][:100, 140:160] != shown[1][:100, 140:160]).any()
    np.testing.assert_array_equal(shown[0][:30, :30], np.repeat(image[:30, :30, None], 3, 2))


def test_what_was_not_looked_at_is_hatched():
    image = np.full((120, 200), 100, np.uint8)
    heat = np.zeros((120, 200), np.float32)
    heat[:, 150:] = np.nan
    shown = cv2.imdecode(np.frombuffer(overlay(image, heat, 99.0, "x"), np.uint8), 1)
    assert set(np.unique(shown[:120, :150])) == {100}
    assert set(np.unique(shown[:120, 150:])) == {45, 110}
    plain = cv2.imdecode(np.frombuffer(overlay(image, np.zeros_like(heat), 99.0, "x"), np.uint8), 1)
    assert (shown[120:] != plain[120:]).any(), "the strip says what the hatching means"
