"""Small charts for the metadata of assets: what came into which split, and how a training went."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def split_chart(images: pd.DataFrame) -> bytes:
    """PNG: images of each class in each split."""
    counts = images.groupby(["split", "klass"]).size().unstack(fill_value=0)
    figure = _figure(2.6)
    axes = figure.subplots()
    counts.plot.barh(stacked=True, ax=axes, colormap="viridis")
    axes.set(xlabel="images", ylabel="")
    axes.legend(title="class", fontsize="small")
    return _png(figure)


def training_chart(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """PNG: validation loss over optimiser steps, a line a canvas; ``histories`` is the trainer's, by canvas."""
    figure = _figure(2.8)
    axes = figure.subplots()
    for canvas, history in histories.items():
        steps, losses = [entry["step"] for entry in history], [entry["validation"] for entry in history]
        axes.plot(steps, losses, marker="o", markersize=3, label=canvas)
    axes.set(xlabel="optimiser step", ylabel="validation loss (normals)", yscale="log")
    axes.legend()
    return _png(figure)


def calibration_chart(scores: Sequence[float]) -> bytes:
    """PNG: how many of the normal validation images score at least as high, over the score."""
    falling = sorted(scores, reverse=True)
    figure = _figure(2.8)
    axes = figure.subplots()
    axes.step(falling, [(rank + 1) / (len(falling) + 1) for rank in range(1, len(falling) + 1)], where="pre")
    axes.axhline(0.05, linestyle=":", color="gray")
    axes.set(xlabel="score (sd of normals)", ylabel="share of normals as high", yscale="log")
    return _png(figure)


def score_chart(records: Sequence[Mapping[str, Any]]) -> bytes:
    """PNG: image AUROC of every score with its 95 % interval, the best on top; controls and shortcuts are hollow."""
    shown = [r for r in records if (r["level"], r["metric"], r["subset"]) == ("image", "auroc", "all")]
    shown = sorted((r for r in shown if r["value"] is not None), key=lambda r: r["value"])
    figure = _figure(0.8 + 0.2 * max(len(shown), 1))
    axes = figure.subplots()
    for row, record in enumerate(shown):
        if record["low"] is not None:
            axes.plot([record["low"], record["high"]], [row, row], color="0.6", zorder=1)
        beside = any(word in str(record["method"]) for word in ("control_", "shortcut_"))
        axes.scatter(record["value"], row, s=16, color="white" if beside else "C0", edgecolor="C0", zorder=2)
    axes.axvline(0.5, color="0.8", linestyle=":", zorder=0)
    axes.set_yticks(range(len(shown)), [f"{r['method']} {r['score']}" for r in shown], fontsize=7)
    axes.set(xlabel="image AUROC", xlim=(0, 1.02))
    return _png(figure)


def _figure(height: float) -> "Figure":
    """An empty figure, ``height`` inches high."""
    import matplotlib  # half a second, and most commands draw nothing
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    return Figure(figsize=(6, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
