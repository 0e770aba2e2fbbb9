import io

import pandas as pd
from PIL import Image

from pipeline.steps.charts import split_chart, training_chart


def test_charts_are_pictures():
    images = pd.DataFrame({"split": ["train", "test", "test"], "klass": ["normal", "normal", "CNV"]})
    history = [{"step": 10.0, "validation": 0.5}, {"step": 20.0, "validation": 0.25}]
    for png in (split_chart(images), training_chart({"wide": history, "tight": history})):
        picture = Image.open(io.BytesIO(png))
        assert picture.format == "PNG"
        assert len(set(picture.convert("L").get_flattened_data())) > 20
