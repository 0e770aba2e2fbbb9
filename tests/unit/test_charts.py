"""Charts of the metadata: what they draw, in which order, and that they are PNG files."""

import io

import pandas as pd
import pytest
from PIL import Image

from assets.charts import calibration_chart, ranked_scores, score_chart, split_chart, training_chart

SCORED = {"dataset": "oct", "level": "image", "metric": "auroc", "subset": "all", "score": "latent"}
RECORDS = [
    SCORED | {"method": "proxyano", "value": 0.7, "low": 0.6, "high": 0.8},
    SCORED | {"method": "control_pca", "value": 0.9, "low": None, "high": None},
    SCORED | {"method": "shortcut_bytes", "value": None, "low": None, "high": None},
    SCORED | {"method": "member_denoising", "value": 0.5, "low": 0.4, "high": 0.6, "metric": "ap"},
]
HISTORY = [{"step": 10.0, "validation": 0.5}, {"step": 20.0, "validation": 0.25}]


@pytest.mark.parametrize(
    "png",
    [
        split_chart(pd.DataFrame({"split": ["train", "test", "test"], "klass": ["normal", "normal", "CNV"]})),
        training_chart({"wide": HISTORY, "tight": HISTORY}),
        calibration_chart([0.1, 1.0, 2.5]),
        score_chart(RECORDS),
    ],
    ids=["split", "training", "calibration", "score"],
)
def test_a_chart_is_a_png_with_something_drawn(png):
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    assert len(set(picture.convert("L").get_flattened_data())) > 20


def test_scores_are_ranked_from_the_worst_and_undefined_ones_left_out():
    assert [label for label, _ in ranked_scores(RECORDS)] == ["proxyano latent", "control_pca latent"]
    other = RECORDS[0] | {"dataset": "idrid", "value": 0.95}
    labels = [label for label, _ in ranked_scores([*RECORDS, other])]
    assert labels == ["oct proxyano latent", "oct control_pca latent", "idrid proxyano latent"]


def test_a_row_is_added_for_every_score():
    few, many = (Image.open(io.BytesIO(score_chart(RECORDS[:count]))).height for count in (1, 2))
    assert many > few
