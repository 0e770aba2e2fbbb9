"""``<dataset>/evaluation``: a method, its controls and shortcuts on the same images, in the same way, with intervals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.pixel_curve import PixelCurve
from models.scoring import Array, ScoreConfig, worst_mean, z_score
from pipeline.steps.canonical.form import SCORED
from pipeline.steps.controls.registry import CONTROLS, RAW, Control
from pipeline.steps.controls.shortcuts import shortcut_table
from pipeline.steps.datasets import Dataset
from pipeline.steps.inference import Prediction, predict_canvas
from pipeline.steps.loading import canvases, load_tiles, read_rows
from pipeline.steps.panels import Case, case_panels
from pipeline.steps.reports.lanes import write_evaluation
from pipeline.steps.reports.records import image_records, label_free_thresholds, pixel_records
from pipeline.steps.scorers import CanvasScore, canvas_images, enlarge, residual_parts, score_canvas
from pipeline.steps.store import Store, Version, fingerprint

ASKED = ("val", "holdout", "test")
FULL = (256, 256)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a lane is judged; chosen without its test images."""

    scores: Mapping[str, ScoreConfig]  # canvas → how the method's residual becomes a score
    controls: tuple[Control, ...] = ()
    pixel_controls: tuple[Control, ...] = ()
    resamples: int = 1000  # of the bootstrap, at least 100
    quantile: float = 0.95  # of normal validation scores: the label-free threshold
    cases: int = 4  # pictures of each kind: best found, missed, false alarms


@dataclass(frozen=True, kw_only=True)
class LaneInputs:
    """The versions one evaluation stands on."""

    dataset: Dataset
    images: Version
    tiles: Version
    proxies: Version
    stage1: Version
    stage2: Version

    @property
    def versions(self) -> dict[str, str]:
        """Asset → data version."""
        every = (self.images, self.tiles, self.proxies, self.stage1, self.stage2)
        return {version.asset: version.data_version for version in every}


Truth = tuple[NDArray[np.bool_], NDArray[np.bool_], dict[str, int]]
"""Lesion masks (n, L, H, W), scored pixels (n, H, W) and the row of each image id."""


@dataclass
class _Board:
    """Scores gathered so far: a column a score, and the pixel curves of those that give maps."""

    inputs: LaneInputs
    config: EvaluationConfig
    table: pd.DataFrame
    curves: dict[str, PixelCurve] = field(default_factory=dict)
    kept: dict[str, Truth] = field(default_factory=dict)  # canvas → masks of the test images

    def add(self, column: str, images: pd.DataFrame, values: Array) -> None:
        """Add the values of one canvas to a score; canvases of a score are summed."""
        aligned = pd.Series(values, index=images["image_id"]).reindex(self.table["image_id"]).to_numpy(float)
        self.table[column] = aligned + (self.table[column] if column in self.table else 0.0)

    def pixels(self, column: str, canvas: str, images: pd.DataFrame, map_of: Any, scale: float) -> None:
        """Feed the maps of the test images to the score's pixel curve, at the full size of the canvas."""
        lesions = self.inputs.dataset.lesions
        if not lesions:
            return
        curve = self.curves.setdefault(column, PixelCurve(lesions, scale=scale))
        truth, scored, order = self.truth(canvas)
        for row in np.flatnonzero((images["split"] == "test").to_numpy()):
            image = images.iloc[row]
            at = order[image["image_id"]]
            curve.add(enlarge(map_of(row), scored[at].shape), truth[at], scored[at], group=str(image["group"]))

    def truth(self, canvas: str) -> Truth:
        """Lesion masks (n, L, H, W) and scored pixels (n, H, W) of the test images, with their order."""
        if canvas not in self.kept:
            held = load_tiles(self.inputs.tiles, None, splits=["test"], canvas=canvas)
            lesions = read_rows(self.inputs.tiles, "lesions", held.index["tile"].to_numpy())
            images, stitched = canvases(lesions.astype(bool), held.index, canvas)
            scored = canvases(held.validity, held.index, canvas)[1] == SCORED
            order = {image: row for row, image in enumerate(images["image_id"])}
            self.kept[canvas] = stitched, scored, order
        return self.kept[canvas]


def evaluate_lane(
    inputs: LaneInputs,
    config: EvaluationConfig,
    store: Store,
    *,
    preset: str,
    method: str,
    seed: int,
    code_version: str,
    facts: Mapping[str, Any],
    progress: bool = True,
) -> Version:
    """Score, measure, draw and publish ``<dataset>/evaluation``.

    ``facts`` are the parts of the summary the caller knows: configuration, minutes, peak memory, links.
    """
    asset = f"{inputs.dataset.name}/evaluation"
    key = fingerprint(inputs.versions, config, preset, method, seed, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        board = _Board(inputs, config, _image_table(inputs))
        cases = _method_scores(board, method, progress)
        _control_scores(board)
        _shortcuts(board)
        head: dict[str, Any] = {"dataset": inputs.dataset.name, "preset": preset, "seed": seed}
        head["data_version"] = inputs.tiles.data_version
        records = image_records(board.table, **head, n_boot=config.resamples, quantile=config.quantile)
        records += pixel_records(board.curves, **head, n_boot=config.resamples)
        write_evaluation(
            work / "content",
            records=records,
            scores=board.table,
            summary=_summary(board, facts, preset, method, seed),
            curves={name: {subset: curve.curves(subset) for subset in curve.subsets} for name, curve in board.curves.items()},
            panels=case_panels(cases, board.table, f"{method}:standardised", config.cases),
        )
        version = fingerprint(records, board.table.to_dict("list"))
        return store.publish(asset, work / "content", version, {"records": len(records), "images": len(board.table)})


def _image_table(inputs: LaneInputs) -> pd.DataFrame:
    """One row an image that is scored, in manifest order."""
    index = pd.read_parquet(inputs.tiles.path / "index.parquet")
    images = index[index["split"].isin(ASKED)].drop_duplicates("image_id")
    return images[["image_id", "split", "label", "klass", "group"]].reset_index(drop=True)


def _method_scores(board: _Board, method: str, progress: bool) -> list[Case]:
    """The method's columns: latent and image space (the paper's), worst pixels, standardised; cases to draw."""
    cases: list[Case] = []
    for canvas, score in board.config.scores.items():
        found = predict_canvas(board.inputs.stage2, board.inputs.tiles, canvas=canvas, splits=ASKED, progress=progress)
        table, scored = found.images.images, found.images.scored
        validation = found.images.rows("val")
        raw = worst_mean(np.abs(found.residual), scored, score)
        for name, values in (("latent", found.latent), ("image", found.image), ("worst", raw)):
            board.add(f"{method}:{name}", table, z_score(values, values[validation]))
        standardised = score_canvas(found.images, residual_parts(found.residual, found.images, score), score)
        board.add(f"{method}:standardised", table, standardised.image())
        typical = float(np.median(np.abs(found.residual[validation][scored[validation]]))) or 1e-3
        board.pixels(f"{method}:residual", canvas, table, lambda row, f=found: np.abs(f.residual[row]), typical)
        board.pixels(f"{method}:standardised", canvas, table, standardised.map_of, 1.0)
        cases.append(Case(canvas, found, standardised, _lesions(board, canvas, found)))
    return cases


def _lesions(board: _Board, canvas: str, found: Prediction) -> Any:
    """Row of the prediction → lesion mask (H, W) at the canvas's full size, or None."""
    if not board.inputs.dataset.lesions:
        return lambda row: None
    truth, _, order = board.truth(canvas)
    names = found.images.images["image_id"]
    return lambda row: truth[order[names[row]]].any(axis=0) if names[row] in order else None


def _control_scores(board: _Board) -> None:
    """Columns ``control_<name>:standardised`` and, where there are masks, the pixel controls."""
    for control in (*board.config.controls, *board.config.pixel_controls):
        train, images, parts_of = _run_control(board.inputs, control)
        column = f"control_{control.name}"
        if control.name in RAW:
            mean = np.array([float(parts_of(r)[0][images.scored[r]].mean()) for r in range(len(images.images))])
            if control in board.config.controls:
                board.add(f"{column}:mean", images.images, mean.astype(np.float32))
            else:
                board.pixels(f"{column}:value", control.canvas, images.images, lambda r, p=parts_of: p(r)[0], 1.0)
            continue
        score: CanvasScore = score_canvas(images, parts_of, control.score)
        if control in board.config.controls:
            board.add(f"{column}:standardised", images.images, score.image())
        board.pixels(f"{column}:standardised", control.canvas, images.images, score.map_of, 1.0)
        if control.options.get("raw"):
            board.pixels(f"{column}:residual", control.canvas, images.images, lambda r, p=parts_of: p(r).max(0), 0.01)


def _run_control(inputs: LaneInputs, control: Control) -> Any:
    proxies = inputs.proxies if control.name == "slic" else None
    train = canvas_images(inputs.tiles, proxies, canvas=control.canvas, splits=["train"], size=control.size)
    images = canvas_images(inputs.tiles, proxies, canvas=control.canvas, splits=ASKED, size=control.size)
    return train, images, CONTROLS[control.name](train, images, control)


def _shortcuts(board: _Board) -> None:
    manifest = pd.read_parquet(board.inputs.images.path / "images.parquet")
    held = load_tiles(board.inputs.tiles, None, splits=ASKED)
    found = shortcut_table(manifest, held.index, held.pixels, held.validity)
    board.table = board.table.merge(found, on="image_id", how="left", validate="one_to_one")


def _summary(board: _Board, facts: Mapping[str, Any], preset: str, method: str, seed: int) -> dict[str, Any]:
    inputs = board.inputs
    counts = json.loads((inputs.images.path / "counts.json").read_text())
    quarantine = [
        entry
        for version in (inputs.images, inputs.tiles)
        for entry in pd.read_parquet(version.path / "quarantine.parquet").to_dict("records")
    ]
    split = board.table.groupby(["split", "klass"]).size()
    return {
        "dataset": inputs.dataset.name,
        "title": inputs.dataset.title,
        "preset": preset,
        "method": method,
        "seed": seed,
        "counts": {f"{part} {klass}": int(n) for (part, klass), n in split.items()},
        "official_counts": counts.get("official", {}),
        "quarantine": quarantine,
        "versions": inputs.versions,
        "thresholds": label_free_thresholds(board.table, board.config.quantile),
        "leaking": bool(counts.get("leaking", False)),
        "model_card": (inputs.stage2.path / "model_card.md").read_text(),
        **facts,
    }
