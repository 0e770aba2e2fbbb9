import io

import pandas as pd
from PIL import Image

from pipeline.reports.charts import score_chart, split_chart, training_chart


def test_charts_are_pictures():
    images = pd.DataFrame({"split": ["train", "test", "test"], "klass": ["normal", "normal", "CNV"]})
    history = [{"step": 10.0, "validation": 0.5}, {"step": 20.0, "validation": 0.25}]
    scored = {"level": "image", "metric": "auroc", "subset": "all", "score": "latent"}
    records = [scored | {"method": "own", "value": 0.7, "low": 0.6, "high": 0.8}]
    records += [scored | {"method": "control_pca", "value": None, "low": None, "high": None}]
    charts = [split_chart(images), training_chart({"wide": history, "tight": history}), score_chart(records)]
    for png in charts:
        picture = Image.open(io.BytesIO(png))
        assert picture.format == "PNG"
        assert len(set(picture.convert("L").get_flattened_data())) > 20
