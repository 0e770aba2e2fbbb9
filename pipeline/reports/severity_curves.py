"""Image AUROC against the strength of each disturbance, as a picture of one data set."""

from pathlib import Path

import pandas as pd

from pipeline.evaluation.robustness import DISTURBANCES, UNCHANGED


def draw_curves(found: pd.DataFrame, title: str, path: Path) -> None:
    """Write a PNG with a panel for each disturbance; ``found``: results of one data set's part ``robustness``."""
    from matplotlib.figure import Figure  # takes half a second to import

    known = found.drop_duplicates("subset").set_index("subset")[["value", "low", "high"]].astype(float)
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    axes = figure.subplots(1, len(DISTURBANCES), sharey=True)
    for one, (kind, disturbance) in zip(axes, DISTURBANCES.items(), strict=True):
        levels = [f"{level:g}" for level in disturbance.levels]
        rows = known.reindex([UNCHANGED, *(f"{kind} {level}" for level in levels)])
        places = ["none", *levels]
        one.fill_between(places, rows["low"], rows["high"], alpha=0.2)
        one.plot(places, rows["value"], marker="o")
        one.set(title=kind, xlabel=disturbance.unit.replace(", ", ",\n"))
        one.grid(alpha=0.3)
    axes[0].set_ylabel("image AUROC, 95 % interval")
    figure.suptitle(f"{title}: the detector on disturbed test images")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
