"""``<dataset>/evaluation`` and those of the benchmark: method, controls and shortcuts scored on the same images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from models.arithmetic import release_memory
from models.scoring import ScoreConfig
from pipeline.detectors.controls.registry import PRETRAINED, Control
from pipeline.detectors.frozen.freeze import DetectorPlan
from pipeline.errors import ConfigError
from pipeline.evaluation.audit import PICTURED, audit_cell, audit_sheet, audit_table, reviewed
from pipeline.evaluation.carried import Carried, Result
from pipeline.evaluation.layers import picture_table, write_comparison
from pipeline.evaluation.nulls import NULLS, network_records
from pipeline.evaluation.pasted_lesions import PastedConfig, pasted_records
from pipeline.evaluation.pictures import Shown, ShownImages, case_panels, gray_picture
from pipeline.evaluation.reconstruction import reconstruction_records
from pipeline.evaluation.records import Record, RecordContext, image_records, label_free_thresholds, pixel_records
from pipeline.evaluation.saved import NO_PICTURES, LaneEvaluation, write_evaluation
from pipeline.evaluation.score_name import CONTROL, METHOD, ScoreName
from pipeline.evaluation.scoreboard import LaneInputs, Scoreboard
from pipeline.evaluation.scoring import COMMITTEE_SCORE, Elsewhere, ScoringPlan, member_names, score_lane
from pipeline.evaluation.shortcuts import with_shortcuts
from pipeline.evaluation.volumes import volume_records, volume_rows
from pipeline.store.versions import Store, Version, fingerprint

VERSION = "18"  # raise it when a change of the step's code changes its result; part of the asset's code version


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a lane is evaluated; chosen without its test images."""

    scores: Mapping[str, ScoreConfig]  # canvas → how the method's residual becomes a score
    flip_average: bool = False  # the standardised score averages residuals with those of the mirrored images
    controls: tuple[Control, ...] = ()
    nulls: tuple[str, ...] = ()  # what replaces Î (keys of ``evaluation.nulls.NULLS``), scored as the method is
    fidelity: bool = True  # measure proxies, reconstructions and repairs as well
    member_scores: Mapping[str, ScoreConfig] = field(default_factory=dict)  # other learned method → its own
    committee: Mapping[str, float] = field(default_factory=dict)  # OWN, another learned method or a control → weight
    pasted: PastedConfig | None = None  # lesions pasted on held-out normals; None: none are pasted
    resamples: int = 1000  # of the bootstrap, at least 100
    quantile: float = 0.95  # of normal validation scores: the label-free threshold
    cases: int = 4  # pictures of each kind: best found, missed, false alarms

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.nulls) - set(NULLS)):
            raise ConfigError(f"EvaluationConfig.nulls: expected some of {sorted(NULLS)}, got {unknown}")

    def detector(self, method: str) -> DetectorPlan:
        """What is frozen as the lane's detector."""
        return DetectorPlan(
            method=method,
            scores=self.scores,
            flip_average=self.flip_average,
            controls=tuple(control for control in self.controls if control.name in self.committee),
            member_scores=self.member_scores,
            committee=self.committee,
        )


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
    scheduler_address: str | None = None,
) -> Version:
    """Score, measure, draw and publish ``asset``, by default ``<dataset>/evaluation``; an existing result is reused.

    ``facts`` are the parts of the summary that the caller knows: configuration, minutes, peak memory, links. Held-out
    and test images are scored on the cluster at ``scheduler_address`` if the ``store`` is shared through a bucket.
    """
    dataset = inputs.dataset.name
    lane_asset, data_version, resamples = f"{dataset}/evaluation", inputs.tiles.data_version, config.resamples
    asset = asset or lane_asset
    key = fingerprint(inputs.versions, config, preset, method, seed, code_version, reviewed(dataset))
    context = RecordContext(dataset=dataset, preset=preset, seed=seed, data_version=data_version, resamples=resamples)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        own, carried = ScoreName(kind=METHOD, owner=method), Carried.of(work, store, asset)
        recipe = fingerprint(inputs.fitted_on, config, method, code_version)
        pictured = asset == lane_asset
        elsewhere = None
        if scheduler_address is not None and store.shared:
            from pipeline.evaluation.scoring_on_workers import Workers  # imports the client of object stores

            elsewhere = Workers(store=store, work=work, scheduler_address=scheduler_address).images
        lane = _evaluate(
            work / "content", inputs, config, own, context, facts, carried, recipe, elsewhere, pictured=pictured
        )
        drawn = [sha256(b"".join(lane.pictures["data"])).hexdigest()] if len(lane.pictures) else []
        version = fingerprint(recipe, lane.records, lane.scores.to_dict("list"), *drawn)  # the recipe: what is carried
        counts = {"records": len(lane.records), "images": len(lane.scores)}
        return store.publish(asset, work / "content", version, counts)


def _evaluate(
    folder: Path,
    inputs: LaneInputs,
    config: EvaluationConfig,
    method: ScoreName,
    context: RecordContext,
    facts: Mapping[str, Any],
    carried: Carried,
    recipe: str,
    elsewhere: Elsewhere | None,
    *,
    pictured: bool,
) -> LaneEvaluation:
    """Every step of an evaluation, in order; writes its files into ``folder``.

    ``recipe`` is a hash of all that decides what is measured on an image, beside the image itself.
    """
    scoreboard, plan = Scoreboard.of(inputs, config.scores, config.pasted), config.detector(method.owner)
    keep = config.pasted is not None and config.pasted.split == "val"
    scoring = ScoringPlan(detector=plan, controls=config.controls, nulls=config.nulls, keep=keep)
    scorers = score_lane(scoring, scoreboard, carried, recipe, elsewhere)
    release_memory()  # of the detectors
    table, curves = with_shortcuts(scoreboard, carried), scoreboard.curves
    speed = round(len(scoreboard.table) / max(scoreboard.seconds, 1e-9), 2)
    columns = [name.column for name in member_names(inputs, plan).values()]
    manifest = pd.read_parquet(inputs.images.path / "images.parquet").drop_duplicates("image_id")
    paths = dict(zip(manifest["image_id"], manifest["path"], strict=True))
    audit = audit_table(table, columns, label_free_thresholds(table, config.quantile), paths)
    shown = ShownImages(scoreboard, scorers, carried, f"{recipe}/shown")
    size, pictures = next(iter(scorers.values())).detector.size, NO_PICTURES
    if pictured:
        pictures = picture_table(shown, table, method.column, config.cases, size)
    judged = COMMITTEE_SCORE.column if COMMITTEE_SCORE.column in table else method.column
    rows = volume_rows(table, judged, paths)
    volumes = {"volumes": rows, "volumes_by": judged} if rows else {}
    lane = write_evaluation(
        folder,
        records=_records(scoreboard, table, config, method, context, carried, recipe),
        scores=table.assign(path=table["image_id"].map(paths)),
        summary={**_summary(inputs, table, config, method, context), **volumes, **facts, "images_per_second": speed},
        curves={column: {part: one.curves(part) for part in one.subsets} for column, one in curves.items()},
        panels=case_panels(shown, table, method.column, config.cases),
        pictures=pictures,
    )
    write_comparison(folder, table, curves, method, shown, config.resamples)
    audit.to_csv(folder / "audit.csv", index=False, float_format="%.3f")
    normals = shown.drawn("audit", next(iter(scorers)), audit["image_id"][:PICTURED], _normal)
    sheet = audit_sheet(audit, {image_id: one.arrays["gray"] for image_id, one in normals.items()})
    (folder / "audit.png").write_bytes(sheet)
    carried.write(folder)
    return lane


def _normal(image: Shown) -> Result:
    """The picture of a listed normal for the audit's sheet."""
    return Result(arrays={"gray": audit_cell(gray_picture(image.gray))})


def _records(
    scoreboard: Scoreboard,
    table: pd.DataFrame,
    config: EvaluationConfig,
    method: ScoreName,
    context: RecordContext,
    carried: Carried,
    recipe: str,
) -> list[Record]:
    """Records of every level; ``table`` holds all image scores, without copies."""
    known = reviewed(context.dataset)
    records = image_records(table, context, quantile=config.quantile, reviewed=known)
    records += volume_records(table, context)
    records += pixel_records(scoreboard.curves, context)
    if config.pasted is not None:
        records += pasted_records(scoreboard.table, scoreboard.lesion_hits, config.pasted.split, context)
    records += network_records(table, scoreboard.curves, method, context)
    if config.fidelity:
        records += reconstruction_records(
            scoreboard, list(config.scores), config.pasted, method, context, carried, recipe
        )
    return records


def _pretrained(config: EvaluationConfig) -> list[str]:
    """Names, in records, of the scores that use weights trained on other images."""
    used = [ScoreName(kind=CONTROL, owner=one.name).method for one in config.controls if one.name in PRETRAINED]
    return [*dict.fromkeys(used), *([COMMITTEE_SCORE.method] if PRETRAINED & set(config.committee) else [])]


def _summary(
    inputs: LaneInputs, table: pd.DataFrame, config: EvaluationConfig, method: ScoreName, context: RecordContext
) -> dict[str, Any]:
    """What was evaluated: images and their counts, versions, thresholds, the model card."""
    counts = json.loads((inputs.images.path / "counts.json").read_text())
    quarantines = [pd.read_parquet(one.path / "quarantine.parquet") for one in (inputs.images, inputs.tiles)]
    parts = {f"{part}: {klass}": n for part, classes in counts["parts"].items() for klass, n in classes.items()}
    placed = {f"split {split}: {klass}": n for split, held in counts["splits"].items() for klass, n in held.items()}
    return {
        "dataset": context.dataset,
        "title": inputs.dataset.title,
        "preset": context.preset,
        "method": method.owner,
        "pretrained": _pretrained(config),
        "seed": context.seed,
        "counts": {name: n["usable"] for name, n in parts.items()} | placed,
        "official_counts": {name: n["official"] for name, n in parts.items()},
        "quarantine": [entry for entries in quarantines for entry in entries.to_dict("records")],
        "passed_over": counts.get("passed_over", {}),
        **({"volume_counts": counts["volumes"]} if "volumes" in counts else {}),
        "versions": inputs.versions,
        "thresholds": label_free_thresholds(table, config.quantile),
        "leaking": bool(counts["leaking"]),
        "model_card": (inputs.stage.path / "model_card.md").read_text(),
    }
