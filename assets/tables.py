"""Column descriptions for Dagster: manifest, tile index, image scores and records."""

from typing import Any

import dagster as dg
import pandas as pd

MEANINGS = {
    "image_id": "start of the file's sha256",
    "path": "file below the data set's raw folder",
    "sha256": "hash of the file",
    "label": "0 normal, 1 abnormal",
    "klass": "class in the source",
    "group": "patient or duplicate group: never in two splits",
    "split": "train, val, holdout (normals for a second look at thresholds), test or unused",
    "width": "px",
    "height": "px",
    "bytes": "size of the file",
    "source": "part of the download",
    "masks": "JSON: lesion → mask file",
    "masks_sha256": "hash of the masks' contents",
    "tile": "row in the zarr arrays",
    "slot": "place in the grid, the same anatomy in every image",
    "canvas": "canvas of the canonical form",
    "canvas_row": "row of the grid",
    "canvas_col": "column of the grid",
    "transform": "JSON: from the tile's pixels to the original image's",
    "offset_row": "rows (canvas px) by which statistics of normals are shifted",
    "offset_col": "columns (canvas px) by which statistics of normals are shifted",
    "scored_fraction": "share of the pixels that are scored",
    "dataset": "lane",
    "method": "or control_…, null_…, shortcut_…",
    "preset": "configuration used",
    "seed": "of weights, training and intervals",
    "level": "image, pixel, pasted or reconstruction",
    "score": "how the residual became a number; the canvas for reconstructions",
    "metric": "what was measured: auroc, ap, acc …",
    "subset": "all, or a class, lesion or contrast",
    "value": "empty if undefined",
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "n": "images",
    "data_version": "of the lane's tiles",
}
"""Column → description; columns named ``<method>:<score>`` are scores."""


def tabled(table: pd.DataFrame) -> dict[str, Any]:
    """Column schema and row count as metadata that Dagster's pages show."""
    columns = [
        dg.TableColumn(str(name), str(kind), description=_meaning(str(name))) for name, kind in table.dtypes.items()
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/row_count": len(table)}


def _meaning(column: str) -> str | None:
    method, scored, score = column.partition(":")
    return f"score {score} of {method}, higher is more abnormal" if scored else MEANINGS.get(column)
