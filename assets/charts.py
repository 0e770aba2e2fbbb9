"""Metadata that Dagster's pages show: small PNG charts and column descriptions."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd

from pipeline.evaluation.records import Record, find
from pipeline.evaluation.score_name import kind_of

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
    "bytes": "size of the file, or a slice's share of it",
    "volume": "series or file whose slices belong together; empty for an image alone",
    "slice": "number in the file, from 0",
    "gray_values": "what was done to them",
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
    "level": "image, volume, pixel, pasted or reconstruction",
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
    columns = []
    for name, kind in table.dtypes.items():
        method, scored, score = str(name).partition(":")
        meaning = f"score {score} of {method}, higher is more abnormal" if scored else MEANINGS.get(method)
        columns.append(dg.TableColumn(str(name), str(kind), description=meaning))
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/row_count": len(table)}


if TYPE_CHECKING:
    from matplotlib.axes import Axes


def split_chart(images: pd.DataFrame) -> bytes:
    """Images of each class in each split."""
    counts = images.groupby(["split", "klass"]).size().unstack(fill_value=0)
    axes = _axes(2.6)
    counts.plot.barh(stacked=True, ax=axes, colormap="viridis")
    axes.set(xlabel="images", ylabel="")
    axes.legend(title="class", fontsize="small")
    return _png(axes)


def training_chart(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Validation loss over optimiser steps, one line for each of the trainer's ``histories``."""
    axes = _axes(2.8)
    for name, history in histories.items():
        steps, losses = [entry["step"] for entry in history], [entry["validation"] for entry in history]
        axes.plot(steps, losses, marker="o", markersize=3, label=name)
    axes.set(xlabel="optimiser step", ylabel="validation loss (normals)", yscale="log")
    axes.legend()
    return _png(axes)


def calibration_chart(scores: Sequence[float]) -> bytes:
    """Share of the normal validation images that score at least as high, over the score."""
    falling = sorted(scores, reverse=True)
    axes = _axes(2.8)
    axes.step(falling, [(rank + 1) / (len(falling) + 1) for rank in range(1, len(falling) + 1)], where="pre")
    axes.axhline(0.05, linestyle=":", color="gray")
    axes.set(xlabel="score (sd of normals)", ylabel="share of normals as high", yscale="log")
    return _png(axes)


def ranked_scores(records: list[Record]) -> list[tuple[str, Record]]:
    """(label, record) of every image AUROC, the worst first; labels name the data set where there are several."""
    shown = sorted(find(records, level="image", metric="auroc", subset="all"), key=lambda r: float(r["value"]))
    several = len({r["dataset"] for r in shown}) > 1
    return [(f"{r['dataset']} " * several + f"{r['method']} {r['score']}", r) for r in shown]


def score_chart(records: list[Record]) -> bytes:
    """Image AUROC of every score with its 95 % interval, the best on top; controls and shortcuts are hollow."""
    shown = ranked_scores(records)
    axes = _axes(0.8 + 0.2 * max(len(shown), 1))
    for row, (_, record) in enumerate(shown):
        if record["low"] is not None:
            axes.plot([record["low"], record["high"]], [row, row], color="0.6", zorder=1)
        hollow = kind_of(record["method"]) in ("control", "shortcut")
        axes.scatter(record["value"], row, s=16, color="white" if hollow else "C0", edgecolor="C0", zorder=2)
    axes.axvline(0.5, color="0.8", linestyle=":", zorder=0)
    axes.set_yticks(range(len(shown)), [label for label, _ in shown], fontsize=7)
    axes.set(xlabel="image AUROC", xlim=(0, 1.02))
    return _png(axes)


def _axes(height: float) -> "Axes":
    """Axes of a figure ``height`` inches high; imports matplotlib late, which takes half a second."""
    from matplotlib.figure import Figure

    return Figure(figsize=(6, height), layout="constrained").subplots()


def _png(axes: "Axes") -> bytes:
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", dpi=110)  # type: ignore[union-attr]
    return buffer.getvalue()
