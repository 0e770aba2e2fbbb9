"""Small PNG charts for the metadata of assets: images by split, training curves, calibration, scores."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.evaluation.records import Record, find
from pipeline.evaluation.score_name import kind_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def split_chart(images: pd.DataFrame) -> bytes:
    """Images of each class in each split."""
    counts = images.groupby(["split", "klass"]).size().unstack(fill_value=0)
    figure = _figure(2.6)
    axes = figure.subplots()
    counts.plot.barh(stacked=True, ax=axes, colormap="viridis")
    axes.set(xlabel="images", ylabel="")
    axes.legend(title="class", fontsize="small")
    return _png(figure)


def training_chart(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Validation loss over optimiser steps, one line for each of the trainer's ``histories``."""
    figure = _figure(2.8)
    axes = figure.subplots()
    for name, history in histories.items():
        steps, losses = [entry["step"] for entry in history], [entry["validation"] for entry in history]
        axes.plot(steps, losses, marker="o", markersize=3, label=name)
    axes.set(xlabel="optimiser step", ylabel="validation loss (normals)", yscale="log")
    axes.legend()
    return _png(figure)


def calibration_chart(scores: Sequence[float]) -> bytes:
    """Share of the normal validation images that score at least as high, over the score."""
    falling = sorted(scores, reverse=True)
    figure = _figure(2.8)
    axes = figure.subplots()
    axes.step(falling, [(rank + 1) / (len(falling) + 1) for rank in range(1, len(falling) + 1)], where="pre")
    axes.axhline(0.05, linestyle=":", color="gray")
    axes.set(xlabel="score (sd of normals)", ylabel="share of normals as high", yscale="log")
    return _png(figure)


def ranked_scores(records: list[Record]) -> list[tuple[str, Record]]:
    """(label, record) of every image AUROC, the worst first; labels name the data set where there are several."""
    shown = sorted(find(records, level="image", metric="auroc", subset="all"), key=lambda r: float(r["value"]))
    several = len({r["dataset"] for r in shown}) > 1
    return [(f"{r['dataset']} " * several + f"{r['method']} {r['score']}", r) for r in shown]


def score_chart(records: list[Record]) -> bytes:
    """Image AUROC of every score with its 95 % interval, the best on top; controls and shortcuts are hollow."""
    shown = ranked_scores(records)
    figure = _figure(0.8 + 0.2 * max(len(shown), 1))
    axes = figure.subplots()
    for row, (_, record) in enumerate(shown):
        if record["low"] is not None:
            axes.plot([record["low"], record["high"]], [row, row], color="0.6", zorder=1)
        hollow = kind_of(record["method"]) in ("control", "shortcut")
        axes.scatter(record["value"], row, s=16, color="white" if hollow else "C0", edgecolor="C0", zorder=2)
    axes.axvline(0.5, color="0.8", linestyle=":", zorder=0)
    axes.set_yticks(range(len(shown)), [label for label, _ in shown], fontsize=7)
    axes.set(xlabel="image AUROC", xlim=(0, 1.02))
    return _png(figure)


def _figure(height: float) -> "Figure":
    """An empty figure, ``height`` inches high; imports matplotlib late, which takes half a second."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    return Figure(figsize=(6, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
