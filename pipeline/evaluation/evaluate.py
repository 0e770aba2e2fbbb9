"""``<dataset>/evaluation`` and those of the baselines: method, controls, shortcuts on the same images, the same way."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd

from models.methods import METHODS
from models.scoring import Array, ScoreConfig, worst_mean, z_score
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.controls.shortcuts import SHORTCUTS, shortcut_table
from pipeline.detectors.inference import Prediction, predict_canvas
from pipeline.detectors.scorers import (
    CanvasScore,
    residual_parts,
    score_canvas,
)
from pipeline.errors import ConfigError
from pipeline.evaluation.audit import reviewed
from pipeline.evaluation.committee import OWN, committee_scores, score_column, write_audit
from pipeline.evaluation.controls import control_scores
from pipeline.evaluation.nulls import NULLS, network_records, null_scores
from pipeline.evaluation.pasted_lesions import SPLIT, PastedConfig, PastedImages, paste, pasted_records
from pipeline.evaluation.pictures.gallery import write_comparison
from pipeline.evaluation.pictures.layers import picture_table
from pipeline.evaluation.pictures.panels import Case, case_panels
from pipeline.evaluation.reconstruction import reconstruction_records
from pipeline.evaluation.records import image_records, label_free_thresholds, pixel_records
from pipeline.evaluation.saved import write_evaluation
from pipeline.evaluation.score_name import MEMBER, METHOD, PRIMARY, SHORTCUT, ScoreName
from pipeline.evaluation.scoreboard import ASKED, LaneInputs, Scoreboard
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import load_tiles

VERSION = "9"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a lane is judged; chosen without its test images."""

    scores: Mapping[str, ScoreConfig]  # canvas → how the method's residual becomes a score
    flip_average: bool = False  # the standardised score averages residuals with those of the mirrored images
    controls: tuple[Control, ...] = ()
    nulls: tuple[str, ...] = ()  # what replaces Î (keys of ``evaluation.nulls.NULLS``), scored as the method is
    fidelity: bool = True  # measure proxies, reconstructions and repairs as well
    member_scores: Mapping[str, ScoreConfig] = field(default_factory=dict)  # where another learned method has its own
    committee: Mapping[str, float] = field(default_factory=dict)  # OWN, another learned method or a control → weight
    pasted: PastedConfig | None = None  # lesions pasted on held-out normals; None: no such figures
    resamples: int = 1000  # of the bootstrap, at least 100
    quantile: float = 0.95  # of normal validation scores: the label-free threshold
    cases: int = 4  # pictures of each kind: best found, missed, false alarms

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.nulls) - set(NULLS)):
            raise ConfigError(f"EvaluationConfig.nulls: expected some of {sorted(NULLS)}, got {unknown}")


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
    asset: str = "",
    progress: bool = True,
) -> Version:
    """Score, measure, draw and publish ``asset``, ``<dataset>/evaluation`` unless one is named.

    ``facts`` are the parts of the summary the caller knows: configuration, minutes, peak memory, links.
    """
    own = f"{inputs.dataset.name}/evaluation"
    asset = asset or own
    known = reviewed(inputs.dataset.name)
    key = fingerprint(inputs.versions, config, preset, method, seed, code_version, known)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        pasted = {} if config.pasted is None else {c: paste(inputs.tiles, c, config.pasted) for c in config.scores}
        board = Scoreboard(inputs, _image_table(inputs, pasted), pasted)
        cases, speed = _method_scores(board, config, method, progress)
        members = control_scores(board, config.controls)
        null_scores(board, config.scores, config.nulls)
        members[OWN] = {case.canvas: case.scored for case in cases}
        if inputs.members is not None:
            members |= _member_scores(board, config, inputs.members, progress)
        committee_scores(board, config.committee, members, method)
        with_copies = board.table
        _shortcuts(board)
        head: dict[str, Any] = {"dataset": inputs.dataset.name, "preset": preset, "seed": seed}
        head["data_version"] = inputs.tiles.data_version
        records = image_records(board.table, **head, n_boot=config.resamples, quantile=config.quantile, reviewed=known)
        records += pixel_records(board.curves, **head, n_boot=config.resamples)
        if config.pasted is not None:
            split = config.pasted.split
            records += pasted_records(with_copies, board.found, split=split, head=head, n_boot=config.resamples)
        records += network_records(board.table, board.curves, method, head=head, n_boot=config.resamples)
        if config.fidelity:
            records += reconstruction_records(
                board, list(config.scores), config.pasted, method, head=head, n_boot=config.resamples
            )
        judged = ScoreName(kind=METHOD, owner=method).column
        pictures = None if asset != own else picture_table(cases, board.table, judged, config.cases, inputs.tiles)
        write_evaluation(
            work / "content",
            records=records,
            scores=board.table,
            summary=_summary(board, config, facts, preset, method, seed) | {"images_per_second": speed},
            curves={
                name: {subset: curve.curves(subset) for subset in curve.subsets} for name, curve in board.curves.items()
            },
            panels=case_panels(cases, board.table, judged, config.cases),
            pictures=pictures,
        )
        write_comparison(work / "content", board, method, cases, n_boot=config.resamples)
        columns = [score_column(board, name, method) for name in config.committee or (OWN,)]
        write_audit(work / "content", board, columns, config.quantile, cases[0])
        seen = [] if pictures is None else [sha256(b"".join(pictures["data"])).hexdigest()]
        version = fingerprint(records, board.table.to_dict("list"), *seen)
        return store.publish(asset, work / "content", version, {"records": len(records), "images": len(board.table)})


def _image_table(inputs: LaneInputs, pasted: Mapping[str, PastedImages]) -> pd.DataFrame:
    """One row an image that is scored, in manifest order, then the copies with pasted lesions."""
    index = pd.read_parquet(inputs.tiles.path / "index.parquet")
    images = index[index["split"].isin(ASKED)].drop_duplicates("image_id")
    copies = [one.table for one in pasted.values()]
    every = pd.concat([images, *copies]).drop_duplicates("image_id")  # a copy has a lesion on every canvas
    return every[["image_id", "split", "label", "klass", "group"]].reset_index(drop=True)


def _method_scores(
    board: Scoreboard, config: EvaluationConfig, method: str, progress: bool
) -> tuple[list[Case], float]:
    """The method's columns: latent and image space (the paper's), worst pixels, standardised, and its variants'.

    Returns the cases to draw, and images a second (all canvases of an image, without loading and averaging).
    """
    cases: list[Case] = []
    predicted = partial(_predicted, board, config, progress, board.inputs.checkpoint)
    seconds = 0.0

    def column(score_name: str) -> str:
        return ScoreName(kind=METHOD, owner=method, score=score_name).column

    for canvas, score in config.scores.items():
        found = predicted(canvas, score, None)
        seconds += found.seconds
        table, scored = found.images.images, found.images.scored
        validation = found.images.rows("val")
        raw = worst_mean(np.abs(found.residual), scored, score)
        for name, values in (("latent", found.latent), ("image", found.image), ("worst", raw)):
            board.add(column(name), table, z_score(values, values[validation]))
        standardised = score_canvas(found.images, residual_parts(found.steady, found.images, score), score)
        typical = float(np.median(np.abs(found.residual[validation][scored[validation]]))) or 1e-3
        board.pixels(column("residual"), canvas, table, partial(_size_of, found.residual), typical)
        board.standardised(column(PRIMARY), canvas, standardised)
        cases.append(Case(canvas, found, standardised, _lesions(board, canvas, found)))
        for name, changes in METHODS[method].variants.items():
            other = predicted(canvas, score, changes)
            scored_so = score_canvas(other.images, residual_parts(other.steady, other.images, score), score)
            board.standardised(column(f"{PRIMARY}_{name}"), canvas, scored_so)
    return cases, round(len(board.table) / max(seconds, 1e-9), 2)


def _member_scores(
    board: Scoreboard, config: EvaluationConfig, trained: Version, progress: bool
) -> dict[str, dict[str, CanvasScore]]:
    """Columns of the other learned methods, and their scores by name and canvas."""
    members: dict[str, dict[str, CanvasScore]] = {}
    for name in trained.meta["members"]:
        column = ScoreName(kind=MEMBER, owner=name).column
        for canvas, usual in config.scores.items():
            score = config.member_scores.get(name, usual)
            seen = _predicted(board, config, progress, trained, canvas, score, None, member=name)
            found = score_canvas(seen.images, residual_parts(seen.steady, seen.images, score), score)
            members.setdefault(name, {})[canvas] = found
            board.standardised(column, canvas, found)
    return members


def _predicted(
    board: Scoreboard,
    config: EvaluationConfig,
    progress: bool,
    trained: Version,
    canvas: str,
    score: ScoreConfig,
    changes: Mapping[str, Any] | None,
    member: str = "",
) -> Prediction:
    return predict_canvas(
        trained,
        board.inputs.tiles,
        board.inputs.proxies,
        canvas=canvas,
        splits=ASKED,
        flip_average=config.flip_average,
        score=score,
        changes=changes,
        member=member,
        more=board.tiles_pasted(canvas),
        progress=progress,
    )


def _lesions(board: Scoreboard, canvas: str, found: Prediction) -> Any:
    """Row of the prediction → lesion mask (H, W) at the canvas's full size, or None."""
    if not board.inputs.dataset.lesions:
        return lambda row: None
    truth, _, order = board.truth(canvas)
    names = found.images.images["image_id"]
    return lambda row: truth[order[names[row]]].any(axis=0) if names[row] in order else None


def _size_of(residual: Array, row: int) -> Array:
    """|I − Î| (Eq. 14)."""
    values: Array = np.abs(residual[row])
    return values


def _shortcuts(board: Scoreboard) -> None:
    """Columns of the shortcuts; copies with pasted lesions leave the table, for their files are their originals'."""
    board.table = board.table[board.table["split"] != SPLIT].reset_index(drop=True)
    manifest = pd.read_parquet(board.inputs.images.path / "images.parquet")
    held = load_tiles(board.inputs.tiles, None, splits=ASKED)
    found = shortcut_table(manifest, held.index, held.pixels, held.validity)
    found = found.rename(
        columns={name: ScoreName(kind=SHORTCUT, owner=name, score="value").column for name in SHORTCUTS}
    )
    board.table = board.table.merge(found, on="image_id", how="left", validate="one_to_one")


def _summary(
    board: Scoreboard, config: EvaluationConfig, facts: Mapping[str, Any], preset: str, method: str, seed: int
) -> dict[str, Any]:
    inputs = board.inputs
    counts = json.loads((inputs.images.path / "counts.json").read_text())
    quarantine = [
        entry
        for version in (inputs.images, inputs.tiles)
        for entry in pd.read_parquet(version.path / "quarantine.parquet").to_dict("records")
    ]
    parts = {(part, klass): n for part, classes in counts["parts"].items() for klass, n in classes.items()}
    placed = {f"split {split}: {klass}": n for split, held in counts["splits"].items() for klass, n in held.items()}
    return {
        "dataset": inputs.dataset.name,
        "title": inputs.dataset.title,
        "preset": preset,
        "method": method,
        "seed": seed,
        "counts": {f"{part}: {klass}": n["usable"] for (part, klass), n in parts.items()} | placed,
        "official_counts": {f"{part}: {klass}": n["official"] for (part, klass), n in parts.items()},
        "quarantine": quarantine,
        "versions": inputs.versions,
        "thresholds": label_free_thresholds(board.table, config.quantile),
        "leaking": bool(counts["leaking"]),
        "model_card": (inputs.checkpoint.path / "model_card.md").read_text(),
        **facts,
    }
