"""The row without the network: what stands in for Î, and what the network adds to it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from models.metrics import auroc
from models.pixel_curve import PixelCurve
from models.scoring import ScoreConfig
from pipeline.detectors.controls.nearest import RANKED_AT, SimilarMean
from pipeline.detectors.images import CanvasImages
from pipeline.errors import ConfigError
from pipeline.evaluation.evaluate import EvaluationConfig
from pipeline.evaluation.nulls import NULLS, median_window, network_records, root_mean_square
from pipeline.evaluation.records import RECORD_KEYS, RecordContext
from pipeline.evaluation.score_name import ScoreName, kind_of
from pipeline.experiments.presets import PRESETS
from pipeline.forms.form import SCORED, SEEN
from pipeline.reports.evaluation.verdict import network_words
from pipeline.reports.kit.words import title

OWN = ScoreName.of("own")
CONTEXT = RecordContext(dataset="oct", preset="p", seed=0, data_version="d", resamples=200)


def canvas(images, groups):
    table = pd.DataFrame({"group": list(groups)})
    return CanvasImages(table, images[:, None], None, np.full(images.shape, SCORED, np.uint8))


def flat(values, groups, side=8):
    """Images of one gray level each: those of normals on the levels of tiles, steps of 1/255."""
    return canvas(np.stack([np.full((side, side), value, np.float32) for value in values]), groups)


def residual(normals, value, group, count, side=8):
    return difference(normals, flat([value], group, side), count)


def difference(normals, query, count):
    common = {"canvas": "whole", "size": (8, 8), "score": ScoreConfig(), "neutral": 0}
    return SimilarMean.fit(normals, options={"count": count}, **common).difference(query)


def test_the_mean_is_that_of_the_nearest_normals():
    normals = flat([0.2, 0.4, 0.6, 1.0], "abcd")
    assert_allclose(residual(normals, 0.5, "x", 2), 0, atol=1e-6)
    assert_allclose(residual(normals, 0.5, "x", 4), 0.5 - 0.55, atol=1e-6)
    assert_allclose(residual(normals, 0.5, "x", 12), 0.5 - 0.55, atol=1e-6, err_msg="there are only four")


def test_an_images_own_group_has_no_say():
    normals = flat([0.2, 0.4, 0.6], "aab")
    assert_allclose(residual(normals, 0.2, "a", 1), 0.2 - 0.6, atol=1e-6)
    with pytest.raises(ConfigError, match="of another group than 'a'"):
        residual(flat([0.2, 0.4], "aa"), 0.2, "a", 1)
    with pytest.raises(ConfigError, match="expected normals of"):
        residual(normals, 0.2, "x", 1, side=4)


def test_likeness_is_judged_inside_the_scored_area_and_pixels_nobody_shows_differ_by_nothing():
    normals = flat([0.2, 0.6], "ab")
    normals.gray[0, :, 4:] = 1.0  # unlike the query where nothing is scored
    normals.seen[:, 0] = False
    query = flat([0.25], "x")
    query.validity[:, :, 4:] = SEEN
    found = difference(normals, query, 1)
    assert_allclose(found[0, 1:, :4], 0.05, atol=1e-6)
    assert_allclose(found[0, 0], 0)


def test_large_canvases_are_compared_at_a_smaller_size():
    side = 2 * RANKED_AT
    assert_allclose(residual(flat([0.2, 0.6], "ab", side), 0.55, "x", 1, side), -0.05, atol=1e-6)


@pytest.mark.parametrize(("size", "window"), [((64, 64), 15), ((256, 256), 61), ((32, 128), 15), ((4, 4), 3)])
def test_the_medians_window_grows_with_the_tile(size, window):
    assert median_window(size) == window


def test_root_mean_square_looks_at_scored_pixels():
    values = np.array([[[3.0, 4.0], [100.0, 0.0]]] * 2, np.float32)
    scored = np.array([[[True, True], [False, False]], [[False] * 2] * 2])
    assert_allclose(root_mean_square(values, scored), [np.sqrt(12.5), 0])


def scores(own, *nulls, normals=40, seed=0):
    """A test table whose scores are a shared draw plus a gain for abnormal images."""
    rng = np.random.default_rng(seed)
    label = np.r_[np.zeros(normals, int), np.ones(40, int)]
    table = pd.DataFrame({"split": "test", "label": label, "group": [f"g{n}" for n in range(len(label))]})
    draw = rng.normal(size=len(label))
    table["own:standardised"] = draw + own * label
    for name, gain in zip(("null_median", "null_slic"), nulls, strict=False):
        table[f"{name}:standardised"] = draw + gain * label
        table[f"{name}:image"] = 100.0 * label  # another score of a null is never compared with
    return table


def test_raw_scores_are_compared_with_the_nulls_raw_scores():
    table = scores(1.0, 1.0)
    table["own:image"], table["null_median:image"] = table["own:standardised"], 0.0
    primary, raw = network_records(table, {}, OWN, CONTEXT)
    assert (primary["score"], primary["value"]) == ("standardised", 0.0)
    assert raw["score"] == "image"
    assert raw["value"] == pytest.approx(auroc(table["label"], table["own:image"]) - 0.5)


@pytest.mark.parametrize(
    ("own", "words"), [(3.0, "ahead of its null"), (1.0, "the network adds nothing"), (0.0, "behind its null")]
)
def test_the_method_is_compared_with_the_best_null(own, words):
    table = scores(own, 0.5, 1.0)
    (found,) = network_records(table, {}, OWN, CONTEXT)
    assert tuple(found) == RECORD_KEYS
    assert (found["level"], found["metric"], found["subset"], found["n"]) == ("image", "auroc_minus_null", "all", 80)
    expected = auroc(table["label"], table["own:standardised"]) - auroc(table["label"], table["null_slic:standardised"])
    assert found["value"] == pytest.approx(expected)
    assert network_words(found) == words


def test_without_nulls_or_test_normals_there_is_nothing_to_compare():
    assert network_records(scores(1.0), {}, OWN, CONTEXT) == []
    assert network_records(scores(1.0, 0.5, normals=0), {}, OWN, CONTEXT) == []
    assert network_words(None) == ""


@pytest.mark.parametrize(("own", "groups", "words"), [(3.0, 6, "ahead of its null"), (3.0, 1, "")])
def test_pixels_are_compared_over_the_same_resamples(own, groups, words):
    rng = np.random.default_rng(0)
    curves = {
        name: PixelCurve(("EX",), scale=1.0, bins=256) for name in ("own:standardised", "null_median:standardised")
    }
    for n in range(6):
        mask = np.zeros((1, 24, 24), bool)
        mask[0, 4:12, 4:12] = True
        for curve, gain in zip(curves.values(), (own, 0.5), strict=True):
            values = rng.normal(size=(24, 24)) + gain * mask[0]
            curve.add(values, mask, np.ones((24, 24), bool), group=str(n % groups))
    (found,) = network_records(scores(0.0), curves, OWN, CONTEXT)
    values = [curve.values()["auroc"] for curve in curves.values()]
    assert (found["level"], found["n"]) == ("pixel", 6)
    assert found["value"] == pytest.approx(values[0] - values[1])
    assert network_words(found) == words


def test_every_lane_has_the_row_without_the_network_and_no_run_of_the_benchmark_pays_for_it():
    for name, preset in PRESETS.items():
        for lane in preset.lanes.values():
            left_out = {"similar_mean"} if name == "sample" else set()
            assert set(NULLS) - set(lane.evaluation.nulls) <= left_out
            for run in lane.baselines:
                judged = lane.judging(run)
                assert judged.fidelity, "what every method does to images is measured"
                assert run == lane.controls_with or judged.nulls == ()
    assert {kind_of(f"null_{name}") for name in NULLS} == {"null"}
    assert all(title(f"null_{name}").endswith("instead of Î") for name in NULLS)
    with pytest.raises(ConfigError, match=r"nulls: expected some of .*got \['magic'\]"):
        EvaluationConfig(scores={}, nulls=("magic",))
