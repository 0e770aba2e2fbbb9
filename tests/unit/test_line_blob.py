"""Lines vanish from the line-blob maps, blobs stay."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from models.line_blob import line_blob_maps
from models.scoring import ScoreConfig, parts
from pipeline.detectors.controls.registry import Median
from pipeline.detectors.images import CanvasImages
from pipeline.errors import ConfigError
from pipeline.forms.form import SCORED

SIDE = 200
EVERYWHERE = np.ones((SIDE, SIDE), bool)
STRENGTH = 60 / 255
LENGTHS = (9, 17, 33, 66)


def residual(kind: str, sign: int, angle: float = 0.6) -> np.ndarray:
    """A long line or a blob of 7 px on zero."""
    found = np.zeros((SIDE, SIDE), np.float32)
    if kind == "vessel":
        step = np.array([np.cos(angle), np.sin(angle)]) * 2 * SIDE
        ends = [tuple(int(v) for v in 100 + s * step) for s in (-1, 1)]
        cv2.line(found, ends[0], ends[1], sign * STRENGTH, 7)
    else:
        cv2.circle(found, (100, 100), 3, sign * STRENGTH, -1)
    return found


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("angle", [0.0, 0.35, 0.6, 1.2, 2.5])
def test_vessels_vanish_in_short_lines(sign: int, angle: float) -> None:
    vessel = residual("vessel", sign, angle)
    middle = np.s_[40:160, 40:160]
    assert np.abs(vessel[middle]).max() > 0.2
    assert line_blob_maps(vessel, EVERYWHERE, (17,))[:, *middle].max() < 0.05


@pytest.mark.parametrize("sign", [-1, 1])
def test_blobs_stay_at_every_length_and_only_in_their_part(sign: int) -> None:
    maps = line_blob_maps(residual("blob", sign), EVERYWHERE, LENGTHS)
    assert maps.shape == (2 * len(LENGTHS), SIDE, SIDE)
    kept, other = (maps[::2], maps[1::2]) if sign < 0 else (maps[1::2], maps[::2])
    assert (kept[:, 100, 100] > 0.2).all()
    assert other.max() == 0


def test_no_residual_is_silent_and_nothing_leaves_the_mask() -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[30:150, 30:150] = True
    assert line_blob_maps(np.zeros((SIDE, SIDE), np.float32), mask, LENGTHS).max() == 0
    noisy = line_blob_maps(rng.uniform(-0.5, 0.5, (SIDE, SIDE)).astype(np.float32), mask, LENGTHS)
    assert noisy.min() >= 0
    assert noisy[:, ~mask].max() == 0
    assert noisy[:, mask].max() > 0


def test_parts_of_a_score_with_lines_follow_those_of_the_residual() -> None:
    both = np.stack([residual("vessel", 1), residual("blob", -1)])
    scored = np.ones(both.shape, bool)
    plain = ScoreConfig(signed=True, sigma=1.0)
    found = parts(both, scored, replace(plain, lines=(17, 33)))
    assert found.shape == (2, 6, SIDE, SIDE)
    np.testing.assert_array_equal(found[:, :2], parts(both, scored, plain))
    assert found[0, 2:, 40:160, 40:160].max() < 0.05 < found[0, 0].max()  # a vessel
    assert found[1, 2, 100, 100] > 0.2 > found[1, 3].max()  # a dark blob


def test_median_residual_is_signed_and_ignores_slow_changes() -> None:
    canvas = np.repeat(np.linspace(0.2, 0.8, SIDE, dtype=np.float32)[None], SIDE, 0)[None].copy()
    canvas[0, 100, 100] += 0.2
    table = pd.DataFrame({"group": ["g"]})
    images = CanvasImages(table, canvas[:, None], None, np.full(canvas.shape, SCORED, np.uint8))
    common = {"canvas": "field", "size": (SIDE, SIDE), "score": ScoreConfig(), "neutral": 0}
    found = Median.fit(None, **common).difference(images)[0]
    assert found[100, 100] == pytest.approx(0.2, abs=0.01)
    assert np.abs(found[40:160, 40:160]).mean() < 0.01
    with pytest.raises(ConfigError, match="odd"):
        Median.fit(None, options={"window": 60}, **common).difference(images)
