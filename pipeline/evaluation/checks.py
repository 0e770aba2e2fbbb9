"""Checks of weights, evaluations and pages; each returns (passed, figures to show beside the check)."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from models.checkpoint import read_tensors
from pipeline.data.checks import FEW, Outcome
from pipeline.evaluation.reconstruction import LEVEL, VALIDATION
from pipeline.evaluation.records import find, score_columns
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.score_name import METHOD, ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS
from pipeline.store.versions import Version
from pipeline.tiles.loading import read_index


def weights_finite(trained: Version) -> Outcome:
    """Every weight of every network, and every validation loss of its training, is finite."""
    numbers, odd = 0, []
    for path in sorted(trained.path.rglob("weights.safetensors")):
        place = path.parent.relative_to(trained.path).as_posix()
        tensors, _ = read_tensors(path)
        numbers += sum(tensor.numel() for tensor in tensors.values())
        odd += [f"{place}: {name}" for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
        losses = _losses(json.loads((path.parent / "history.json").read_text()))
        odd += [f"{place}: validation loss"] if not np.isfinite(losses).all() else []
    return not odd, {"numbers": numbers, "odd": len(odd), "examples": odd[:FEW]}


def _losses(history: Any) -> list[float]:
    """Validation losses of one stage's history, or of all stages by name."""
    if isinstance(history, dict):
        return [loss for stage in history.values() for loss in _losses(stage)]
    return [float(entry["validation"]) for entry in history]


def scores_complete(evaluation: Version, tiles: Version) -> Outcome:
    """Every validation, held-out and test image that has tiles is scored exactly once, with finite values."""
    scores = load_evaluation(evaluation.path).scores
    index = read_index(tiles)
    expected = set(index.loc[index["split"].isin(SCORED_SPLITS), "image_id"])
    columns = score_columns(scores)
    odd = [name for name in columns if not np.isfinite(pd.to_numeric(scores[name]).to_numpy(float)).all()]
    found = set(scores["image_id"])
    repeated = int(scores["image_id"].duplicated().sum())
    figures = {"images": len(scores), "scores": len(columns), "repeated": repeated}
    figures |= {"not_scored": len(expected - found), "unknown": len(found - expected)}
    return found == expected and not repeated and not odd, {**figures, "odd_columns": odd[:FEW]}


LEAST_R2 = 0.5
"""R² on validation normals below which a reconstruction hardly resembles the image."""


def reconstructs(evaluation: Version) -> Outcome:
    """Î explains at least ``LEAST_R2`` of the variance of validation normals on every canvas."""
    lane = load_evaluation(evaluation.path)
    records = find(lane.records, level=LEVEL, metric="reconstruction_r2", subset=VALIDATION)
    r2 = {r["score"]: float(r["value"]) for r in records if ScoreName.of(r["method"]).kind == METHOD}
    poor = sorted(canvas for canvas, value in r2.items() if value < LEAST_R2)
    figures: dict[str, Any] = {f"reconstruction_r2_{canvas}": round(value, 3) for canvas, value in r2.items()}
    figures |= {"least": LEAST_R2, "poor": poor}
    if poor:
        places = " and ".join(f"lane.training.canvases[{canvas!r}]" for canvas in poor)
        figures["remedy"] = (
            f"In the preset, at {places}: train for more steps (stages['stage1'].steps, stages['stage2'].steps) "
            "or give the networks more capacity (model.widths, model.latent_dim, model.memory_items)."
        )
    return not poor, figures


class _Loads(HTMLParser):
    """Addresses that a browser fetches when it opens the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect ``src`` of any tag and ``href`` of ``link``; links that a reader clicks do not count."""
        wanted = "href" if tag == "link" else "src"
        self.found += [value for name, value in attrs if name == wanted and value and not value.startswith("data:")]


def page_opens_offline(page: Path) -> Outcome:
    """The page loads nothing from a network or from other files."""
    text = page.read_text(encoding="utf-8")
    loads = _Loads()
    loads.feed(text)
    figures = {"megabytes": round(len(text.encode()) / 1e6, 2), "loads": len(loads.found)}
    return not loads.found, {**figures, "examples": loads.found[:FEW]}
