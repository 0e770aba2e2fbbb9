"""What the page explores: groups, errors at a threshold, the atlas, the gallery, and evaluations without pictures."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from PIL import Image
from plotly.offline import get_plotlyjs

from models.metrics import evaluate, false_alarms_at
from pipeline.evaluation.pictures import strip_png
from pipeline.evaluation.records import RecordContext, image_records, label_free_thresholds
from pipeline.evaluation.saved import (
    PICTURE_COLUMNS,
    PICTURES,
    THUMBNAIL,
    LaneEvaluation,
    Panel,
    load_evaluation,
    write_evaluation,
)
from pipeline.reports.evaluation.explorer import (
    ATLAS_BUDGET,
    COLUMNS,
    GALLERY_BUDGET,
    SIDE,
    TRUTH_COLOUR,
    atlases,
    errors_at,
    explorer,
    galleries,
    grouped,
)
from pipeline.reports.evaluation.figures import image_curves
from pipeline.reports.evaluation.report import evaluation_report
from pipeline.reports.kit.pictures import BUDGET
from pipeline.reports.kit.publish import write_report
from pipeline.reports.kit.words import column_title

OWN = "proxyano:standardised"


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def opened(link):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))))


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    rows = [(split, 0, "normal") for split in ("val", "holdout", "test") for _ in range(20)]
    rows += [("test", 1, klass) for klass in ("CNV", "DME") for _ in range(10)]
    table = pd.DataFrame(rows, columns=["split", "label", "klass"])
    table.insert(0, "image_id", [f"image{i:03d}" for i in range(len(table))])
    table["group"] = table["image_id"]
    for column, gain in {"control_pca:standardised": 3.0, "proxyano:latent": 2.0, OWN: 1.0}.items():
        table[column] = rng.normal(size=len(table)) + gain * table["label"]
    table["shortcut_bytes:value"] = rng.normal(size=len(table))
    return table


def kept(table):
    """A thumbnail for each image but the last, its gray level its number; layers of two images."""
    rows = [
        (name, "wide", THUMBNAIL, "", png(np.full((64, 64), number, np.uint8)))
        for number, name in enumerate(table["image_id"][:-1])
    ]
    heat = np.zeros((32, 64), np.uint8)
    heat[:, :32] = 128
    truth = np.zeros((128, 256), bool)
    truth[32:96, 64:192] = True
    for name, kind in (("image065", "missed"), ("image079", "found")):
        for canvas in ("wide", "tight"):
            gray = {layer: png(np.full((32, 64), 90, np.uint8)) for layer in ("input", "proxy", "reconstruction")}
            layers = {**gray, "heat": png(heat), "truth": png(truth)}
            rows += [(name, canvas, layer, kind, data) for layer, data in layers.items()]
    return pd.DataFrame(rows, columns=list(PICTURE_COLUMNS))


@pytest.fixture(scope="module")
def lane(scores):
    records = image_records(
        scores, RecordContext(dataset="oct", preset="quick", seed=0, data_version="ab", resamples=40)
    )
    about = {"dataset": "oct", "title": "OCT", "preset": "quick", "method": "proxyano", "seed": 0}
    about["thresholds"] = label_free_thresholds(scores)
    panel = Panel(file="worst.png", caption="Worst case", png=strip_png({"x": np.zeros((8, 8), np.uint8)}, height=32))
    return LaneEvaluation(records=records, scores=scores, summary=about, panels=[panel], pictures=kept(scores))


def test_groups_are_normals_of_each_split_then_classes(scores):
    groups, number_of = grouped(scores)
    assert [group["title"] for group in groups] == [
        "validation normals",
        "held-out normals",
        "test normals",
        "CNV",
        "DME",
    ]
    assert [group["normal"] for group in groups] == [True, True, True, False, False]
    assert np.bincount(number_of).tolist() == [20, 20, 20, 10, 10]


@pytest.mark.parametrize("threshold", [-9.0, -0.3, 0.9, 9.0])
def test_errors_are_normals_above_and_abnormal_images_not_above(scores, threshold):
    found = {one["title"]: one for one in errors_at(scores, OWN, threshold)}
    assert list(found)[-1] == "all abnormal"
    test = scores[(scores["split"] == "test") & (scores["label"] == 0)][OWN]
    assert found["test normals"]["wrong"] / 20 == pytest.approx(evaluate(false_alarms_at(threshold), [0] * 20, test))
    for klass in ("CNV", "DME"):
        assert found[klass]["wrong"] == sum(value <= threshold for value in scores[scores["klass"] == klass][OWN])
    assert found["all abnormal"]["wrong"] == found["CNV"]["wrong"] + found["DME"]["wrong"]
    assert found["all abnormal"]["count"] == 20


def test_a_score_at_the_threshold_is_no_alarm(scores):
    value = float(scores[OWN].iloc[0])
    below = errors_at(scores, OWN, np.nextafter(value, -9))[0]["wrong"]
    assert errors_at(scores, OWN, value)[0]["wrong"] == below - 1


def test_the_page_gets_every_value_the_judged_score_first_and_no_shortcut(lane, scores):
    data = json.loads(json.dumps(explorer(lane, None, []), allow_nan=False))
    assert [score["title"] for score in data["scores"]] == [
        "ProxyAno, standardised",
        "ProxyAno, latent",
        "PCA, standardised",
    ]
    np.testing.assert_allclose(data["scores"][0]["values"], scores[OWN], rtol=1e-8)
    assert data["scores"][0]["threshold"] == pytest.approx(lane.about("thresholds")[OWN], rel=1e-8)
    assert data["ids"] == list(scores["image_id"])
    wrong = [one["wrong"] for one in data["errors"]]
    assert wrong == [one["wrong"] for one in errors_at(scores, OWN, lane.about("thresholds")[OWN])]


def test_far_scores_leave_the_normals_room_on_the_axis(lane, scores):
    far = scores.assign(**{OWN: scores[OWN].where(scores["label"] == 0, scores[OWN] + 500)})
    axis = explorer(replace(lane, scores=far), None, [])["scores"]
    own = next(one for one in axis if one["title"] == column_title(OWN))
    assert own["high"] == pytest.approx(own["threshold"] + 10 * (own["threshold"] - own["low"]), rel=1e-4)
    assert max(own["values"]) > own["high"], "points beyond are drawn at the edge"


def test_a_point_of_the_roc_names_threshold_and_image(lane, scores):
    trace = next(one for one in image_curves(lane)["roc"]["data"] if one["name"] == "ProxyAno, standardised")
    assert trace["customdata"][0] is None
    test = scores["split"] == "test"
    for rate, hit, (threshold, row) in zip(trace["x"][1:], trace["y"][1:], trace["customdata"][1:], strict=True):
        assert scores[OWN][row] == pytest.approx(threshold, rel=1e-4)
        assert test[row]
        above = scores[OWN] >= scores[OWN][row]
        assert rate == pytest.approx(above[test & (scores["label"] == 0)].mean(), abs=1e-3)
        assert hit == pytest.approx(above[test & (scores["label"] == 1)].mean(), abs=1e-3)


def test_an_image_stands_in_the_atlas_at_its_row(lane):
    found = atlases([lane])["oct"]
    sheet = opened(found.link)
    assert sheet.shape[:2] == (SIDE * found.rows, SIDE * COLUMNS)
    assert found.shown == [1] * 79 + [0]
    for row in (0, 39, 40, 78):
        y, x = row // COLUMNS * SIDE, row % COLUMNS * SIDE
        assert abs(sheet[y : y + SIDE, x : x + SIDE].mean() - row) < 4


def test_atlas_and_gallery_shrink_until_they_fit(lane, scores):
    rng = np.random.default_rng(0)
    noisy = lane.pictures.copy()
    noisy["data"] = [
        png(rng.integers(0, 256, (64, 64), dtype=np.uint8)) if layer != "truth" else data
        for layer, data in zip(noisy["layer"], noisy["data"], strict=True)
    ]
    noisy_lane = replace(lane, pictures=noisy)
    free, tight = (atlases([noisy_lane], budget)["oct"].link for budget in (10**7, 30_000))
    assert len(tight) <= 30_000 < len(free)
    sizes = [
        sum(
            len(link)
            for one in galleries([noisy_lane], budget)["oct"]
            for c in one.canvases
            for link in c["layers"].values()
        )
        for budget in (10**7, 30_000)
    ]
    assert sizes[1] < sizes[0]


def test_the_budgets_leave_room_below_fifteen_megabytes():
    for pictures in (ATLAS_BUDGET + GALLERY_BUDGET, BUDGET):
        assert len(get_plotlyjs().encode()) + pictures < 13.5e6  # the rest is for scores, tables and curves


def test_the_gallery_has_layers_by_canvas_heat_unstretched_and_truth_as_a_line(lane):
    found, missed = galleries([lane])["oct"]
    assert (found.kind, missed.kind, found.row) == ("found", "missed", 79)
    assert [canvas["name"] for canvas in found.canvases] == ["wide", "tight"]
    assert [canvas["ratio"] for canvas in found.canvases] == [2.0, 2.0]
    heat = opened(found.canvases[0]["layers"]["heat"]).astype(float)
    wanted = np.array(colormaps["inferno"](128)[:3]) * 255  # half of the range, though nothing here is hotter
    assert abs(heat[:, :28].mean((0, 1)) - wanted).max() < 12
    line = opened(found.canvases[0]["layers"]["truth"])
    drawn = line[..., 3] > 0
    assert 0 < drawn.mean() < 0.05
    assert set(map(tuple, line[drawn][:, :3])) == {TRUTH_COLOUR}


def test_heat_is_hatched_where_the_image_was_not_looked_at(lane):
    def with_gap(data):
        gray = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        seen = np.where(np.arange(gray.shape[1]) < gray.shape[1] // 2, 255, 0).astype(np.uint8)
        return png(np.dstack([gray, np.broadcast_to(seen, gray.shape)]))

    pictures = lane.pictures.copy()
    heat = pictures["layer"] == "heat"
    pictures.loc[heat, "data"] = [with_gap(data) for data in pictures.loc[heat, "data"]]
    before, after = (
        opened(galleries([one])["oct"][0].canvases[0]["layers"]["heat"]).astype(float)
        for one in (lane, replace(lane, pictures=pictures))
    )
    half = before.shape[1] // 2
    assert abs(after[:, : half - 8] - before[:, : half - 8]).max() < 12
    gray = after[:, half + 8 :]
    assert before[:, half + 8 :].max() < 30 < 60 < gray.max()  # gray stripes on the dark ground
    assert (gray < 30).mean() > 0.5


def test_pictures_are_read_as_written_and_may_be_missing(lane, tmp_path):
    write_evaluation(
        tmp_path,
        records=lane.records,
        scores=lane.scores,
        summary=lane.summary,
        panels=lane.panels,
        pictures=lane.pictures,
    )
    pd.testing.assert_frame_equal(load_evaluation(tmp_path).pictures, lane.pictures)
    (tmp_path / PICTURES).unlink()
    for evaluation, cards in ((lane, 2), (load_evaluation(tmp_path), 0)):
        write_report(evaluation_report([evaluation]), tmp_path / "report", {})
        page = (tmp_path / "report" / "index.html").read_text()
        assert "Scores and threshold" in page
        assert page.count('class="card-of"') == cards
        assert ('class="gallery"' in page) == bool(cards)


def test_pictures_have_their_columns(lane):
    with pytest.raises(ValueError, match="pictures have the columns"):
        replace(lane, pictures=lane.pictures.drop(columns="kind"))
