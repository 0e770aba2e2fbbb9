"""Lines vanish from the line-blob maps, blobs stay."""

import cv2
import numpy as np
import pytest

from pipeline.steps.controls.line_blob import (
    LENGTHS,
    NEUTRAL,
    PARTS,
    iterate_line_blob,
    line_blob_maps,
    median_residual,
)

SIDE = 200
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def picture(kind: str, sign: int, angle: float = 0.6) -> np.ndarray:
    codes = np.full((SIDE, SIDE), 128, np.uint8)
    if kind == "vessel":
        step = np.array([np.cos(angle), np.sin(angle)]) * 2 * SIDE
        ends = [tuple(int(v) for v in 100 + s * step) for s in (-1, 1)]
        cv2.line(codes, ends[0], ends[1], 128 + 60 * sign, 7)
    else:
        cv2.circle(codes, (100, 100), 5, 128 + 60 * sign, -1)
    return (codes / 255).astype(np.float32)[None]


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("angle", [0.0, 0.35, 0.6, 1.2, 2.5])
def test_vessels_vanish_in_short_lines(sign: int, angle: float) -> None:
    maps = line_blob_maps(picture("vessel", sign, angle), EVERYWHERE)[0]
    middle = np.s_[40:160, 40:160]
    assert maps[-1 if sign < 0 else -2][middle].max() > 0.2
    assert maps[:2][:, *middle].max() < 0.05


@pytest.mark.parametrize("sign", [-1, 1])
def test_blobs_stay_at_every_length_and_only_in_their_part(sign: int) -> None:
    maps = line_blob_maps(picture("blob", sign), EVERYWHERE)[0]
    assert maps.shape == (PARTS, SIDE, SIDE)
    black, bright = maps[0 : 2 * len(LENGTHS) : 2], maps[1 : 2 * len(LENGTHS) : 2]
    kept, other = (black, bright) if sign < 0 else (bright, black)
    assert (kept[:, 100, 100] > 0.2).all()
    assert other.max() == 0


def test_a_flat_picture_is_silent_and_nothing_leaves_the_mask() -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[30:150, 30:150] = True
    flat = np.full((1, SIDE, SIDE), NEUTRAL, np.float32)
    assert line_blob_maps(flat, mask).max() == 0
    noisy = line_blob_maps(rng.random((1, SIDE, SIDE), np.float32), mask)
    assert noisy.min() >= 0
    assert noisy[:, :, ~mask].max() == 0
    assert noisy[:, :, mask].max() > 0


def test_image_by_image_equals_all_at_once() -> None:
    canvas = np.random.default_rng(4).random((2, 64, 64)).astype(np.float32)
    mask = np.ones((2, 64, 64), bool)
    np.testing.assert_array_equal(np.stack(list(iterate_line_blob(canvas, mask))), line_blob_maps(canvas, mask))


def test_median_residual_is_signed_and_ignores_slow_changes() -> None:
    canvas = np.repeat(np.linspace(0.2, 0.8, SIDE, dtype=np.float32)[None], SIDE, 0)[None].copy()
    canvas[0, 100, 100] += 0.2
    found = median_residual(canvas)[0]
    assert found[100, 100] == pytest.approx(0.2, abs=0.01)
    assert np.abs(found[40:160, 40:160]).mean() < 0.01
    with pytest.raises(ValueError, match="odd"):
        median_residual(canvas, 60)
