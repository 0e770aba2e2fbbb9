"""Schemas of the manifest's tables, checked before they are published."""

import pandera.pandas as pa

from pipeline.data.splits import SPLITS, UNUSED

IMAGES = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, pa.Check.str_matches(r"^[0-9a-f]{16}$"), unique=True),
        "path": pa.Column(str, unique=True),
        "sha256": pa.Column(str, pa.Check.str_matches(r"^[0-9a-f]{64}$"), unique=True),
        "label": pa.Column("int8", pa.Check.isin([0, 1])),
        "klass": pa.Column(str),
        "group": pa.Column(str, pa.Check.str_length(min_value=1)),
        "split": pa.Column(str, pa.Check.isin([*SPLITS, UNUSED])),
        "width": pa.Column("int32", pa.Check.gt(0)),  # px
        "height": pa.Column("int32", pa.Check.gt(0)),  # px
        "bytes": pa.Column("int64", pa.Check.gt(0)),
        "source": pa.Column(str),
        "masks": pa.Column(str),  # JSON: lesion name → path
        "masks_sha256": pa.Column(str),  # of the masks' contents in that order; empty where there are none
    },
    checks=[
        pa.Check(lambda t: (t["label"] == 0) == (t["klass"] == "normal"), error="label 0 is exactly the class normal"),
        pa.Check(lambda t: t["image_id"] == t["sha256"].str[:16], error="image_id is the start of sha256"),
        pa.Check(
            lambda t: (t["label"] == 0) | t["split"].isin(["test", UNUSED]), error="abnormal images are only in test"
        ),
    ],
    strict=True,
    ordered=True,
)
"""One row for each image, sorted by split and path."""

QUARANTINE = pa.DataFrameSchema({"path": pa.Column(str), "reason": pa.Column(str)}, strict=True, ordered=True)
"""One row for each unusable file, with the reason; an image with an unusable mask is listed beside its mask."""
