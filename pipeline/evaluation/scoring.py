"""Run a lane's detector, its controls and its nulls over the same images, canvas by canvas, block by block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd

from models.methods import METHODS
from models.scoring import Array, worst_mean
from pipeline.detectors.contract import CanvasDetector, PixelMaps
from pipeline.detectors.controls.registry import RAW, Control
from pipeline.detectors.frozen.files import read_detector
from pipeline.detectors.frozen.freeze import DetectorPlan, fit_networks
from pipeline.detectors.images import BLOCK
from pipeline.detectors.network import NetworkDetector, NetworkMaps
from pipeline.detectors.standardise import CanvasScorer, committee_score, fused_map
from pipeline.evaluation import nulls
from pipeline.evaluation.pasted_lesions import SPLIT
from pipeline.evaluation.score_name import COMMITTEE as COMMITTEE_KIND
from pipeline.evaluation.score_name import CONTROL, MEMBER, METHOD, NULL, PRIMARY, ScoreName
from pipeline.evaluation.scoreboard import LaneInputs, Scoreboard
from pipeline.tiles.loading import TileSet, tile_blocks

RAW_SCALE = 0.05  # typical size of a raw residual or value in [0, 1]: where the bins of its pixel curve are finest
COMMITTEE_SCORE = ScoreName(kind=COMMITTEE_KIND, owner=COMMITTEE_KIND)


@dataclass
class Entry:
    """One detector on one canvas, and which of its scores are shown."""

    name: ScoreName
    detector: CanvasDetector
    scorer: CanvasScorer | None  # None: only measured raw
    raw_map: str = ""  # score whose maps are the raw values; empty: none
    scale: float = RAW_SCALE  # typical size of those values
    copies: bool = True  # whether copies with pasted lesions are scored
    seconds: float = 0.0  # that a network took
    residuals: list[Array] = field(default_factory=list)  # |I − Î| of validation normals, scored pixels

    @property
    def measured(self) -> bool:
        """Whether it has raw scores, which validation normals are measured for as well."""
        return self.scorer is None or self.name.kind in (METHOD, NULL)

    def raw_scores(self, found: PixelMaps) -> dict[str, Array]:
        """Raw image scores (n,): the paper's (Eq. 13, Table V) and the worst |I − Î| of a network, a mean otherwise."""
        scored = found.images.scored
        if isinstance(found, NetworkMaps) and self.name.kind == METHOD and self.name.score == PRIMARY:
            worst = worst_mean(np.abs(found.residual), scored, self.detector.score)
            return {"latent": found.latent, "image": found.image, "worst": worst}
        if self.name.kind == NULL and found.residual is not None:
            return {"image": nulls.root_mean_square(found.residual, scored)}
        if self.scorer is None:
            pairs = zip(found.parts, scored, strict=True)
            return {"mean": np.array([float(one.mean(where=mask[None])) for one, mask in pairs], np.float32)}
        return {}

    def raw_maps(self, found: PixelMaps) -> Array:
        """Raw values (n, H, W): |I − Î| (Eq. 14), or the largest part of a control."""
        if self.name.kind in (METHOD, NULL) and found.residual is not None:
            return np.abs(found.residual)
        largest: Array = found.parts.max(axis=1)
        return largest


def score_lane(
    plan: DetectorPlan,
    scoreboard: Scoreboard,
    *,
    controls: tuple[Control, ...],
    null_names: tuple[str, ...],
    keep: bool = False,
) -> tuple[Mapping[str, CanvasScorer], float]:
    """Fill the scoreboard; the method's scorers by canvas, and the seconds that its network took.

    Members are those of the frozen detector; without one, the method is fitted here. ``keep`` the maps of validation
    normals, for copies of those with pasted lesions.
    """
    inputs, seconds = scoreboard.inputs, 0.0
    if inputs.detector is not None:
        members = dict(read_detector(inputs.detector.path).members)
    else:
        fitted = fit_networks(plan, inputs, inputs.proxies, keep=keep)
        members = {name: {canvas: scorer for canvas, (scorer, _) in one.items()} for name, one in fitted.items()}
    names, own = member_names(inputs, plan), ScoreName(kind=METHOD, owner=plan.method)
    weights = {names[name]: weight for name, weight in plan.weights.items()}
    for canvas in plan.scores:
        held = {name: member[canvas] for name, member in members.items() if canvas in member}
        entries = [*_learned(inputs, plan, canvas, held, keep=keep), *_controls(inputs, canvas, controls, held)]
        entries += _nulls(inputs, held[plan.method], null_names)
        _score_canvas(scoreboard, canvas, entries, weights)
        seconds += sum(entry.seconds for entry in entries if entry.name == own)
    if weights:
        scores = {name: scoreboard.table[names[name].column].to_numpy(float) for name in plan.weights}
        scoreboard.table[COMMITTEE_SCORE.column] = committee_score(plan.weights, members, scores)
    return members[plan.method], seconds


def _learned(
    inputs: LaneInputs, plan: DetectorPlan, canvas: str, held: Mapping[str, CanvasScorer], *, keep: bool
) -> Iterator[Entry]:
    """The method with its variants, and the other learned methods."""
    own = ScoreName(kind=METHOD, owner=plan.method)
    for name, scorer in held.items():
        detector = scorer.detector
        if not isinstance(detector, NetworkDetector):
            continue
        named, raw_map = (own, "residual") if name == plan.method else (ScoreName(kind=MEMBER, owner=name), "")
        yield Entry(named, detector, scorer, raw_map, copies=not detector.method.needs_proxy)
    for variant, changes in METHODS[plan.method].variants.items():
        tiles, score, flip = inputs.tiles, plan.scores[canvas], plan.flip_average
        varied = NetworkDetector.trained(inputs.stage, tiles, canvas, score, flip_average=flip, changes=changes)
        scorer, _ = CanvasScorer.fit(varied, inputs.tiles, inputs.proxies, keep=keep)
        yield Entry(replace(own, score=f"{PRIMARY}_{variant}"), varied, scorer, copies=not varied.method.needs_proxy)


def _controls(
    inputs: LaneInputs, canvas: str, controls: tuple[Control, ...], held: Mapping[str, CanvasScorer]
) -> Iterator[Entry]:
    """Controls of the canvas; those of the committee are the frozen ones."""
    for control in (control for control in controls if control.canvas == canvas):
        name = ScoreName(kind=CONTROL, owner=control.name)
        if control.name in RAW:
            yield Entry(name, control.fit(inputs.tiles), None, "value")
            continue
        scorer = held.get(control.name) or _fitted(control, inputs)
        raw_map, copies = "residual" if control.options.get("raw") else "", not control.kind.needs_proxies
        yield Entry(name, scorer.detector, scorer, raw_map, copies=copies)


def _nulls(inputs: LaneInputs, own: CanvasScorer, names: tuple[str, ...]) -> Iterator[Entry]:
    """The method's own score with Î replaced; at full size without copies, as a map takes seconds there."""
    method = own.detector
    for control in nulls.null_controls(method.size, method.canvas, method.score, names):
        scorer, copies = _fitted(control, inputs), not control.kind.needs_proxies and not control.score.fine
        yield Entry(ScoreName(kind=NULL, owner=control.name), scorer.detector, scorer, "residual", copies=copies)


def _fitted(control: Control, inputs: LaneInputs) -> CanvasScorer:
    proxies = inputs.proxies if control.kind.needs_proxies else None
    return CanvasScorer.fit(control.fit(inputs.tiles, proxies), inputs.tiles, proxies)[0]


def _score_canvas(
    scoreboard: Scoreboard, canvas: str, entries: list[Entry], weights: Mapping[ScoreName, float]
) -> None:
    """Validation normals first: they give raw scores their unit."""
    inputs = scoreboard.inputs
    blocks = partial(tile_blocks, inputs.tiles, inputs.proxies, canvas=canvas, count=BLOCK)
    names = tuple(replace(entry.name, score="mean") for entry in entries if entry.scorer is None)
    for block in blocks(splits=("val",)):
        for entry in (entry for entry in entries if entry.measured):
            found = _maps(scoreboard, entry, block)
            if entry.name.kind == METHOD and found.residual is not None:
                entry.residuals.append(np.abs(found.residual)[found.images.scored])
    for entry in entries:
        if entry.scorer is not None:
            normal = entry.scorer.normal_scores()
            scoreboard.collect(entry.name, normal, normal.values())
            names += (entry.name,)
        if entry.residuals:
            entry.scale = float(np.median(np.concatenate(entry.residuals))) or 1e-3
            entry.residuals.clear()
    for block in chain(blocks(splits=("holdout", "test")), scoreboard.copies(canvas)):
        _score_block(scoreboard, canvas, block, entries, weights)
    scoreboard.finish(names)


def _maps(scoreboard: Scoreboard, entry: Entry, block: TileSet) -> PixelMaps:
    """Maps of a block, whose raw scores are collected."""
    found = entry.detector.maps(block)
    if isinstance(found, NetworkMaps):
        entry.seconds += found.seconds
    for score, values in entry.raw_scores(found).items():
        scoreboard.collect(replace(entry.name, score=score), found.images.images["image_id"].astype(str), values)
    return found


def _score_block(
    scoreboard: Scoreboard, canvas: str, block: TileSet, entries: list[Entry], weights: Mapping[ScoreName, float]
) -> None:
    copies = bool((block.index["split"] == SPLIT).any())
    images, fused = pd.DataFrame(), list[tuple[float, list[Array]]]()
    for entry in entries:
        if copies and not entry.copies:
            continue
        found = _maps(scoreboard, entry, block)
        images = found.images.images
        if entry.raw_map:
            shown = replace(entry.name, score=entry.raw_map)
            scoreboard.add_maps(shown, canvas, images, entry.raw_maps(found), entry.scale)
        if entry.scorer is None:
            continue
        scored = entry.scorer.standardised(found)
        scoreboard.collect(entry.name, images["image_id"].astype(str), scored.z)
        scoreboard.add_maps(entry.name, canvas, images, scored.maps, 1.0)
        if entry.name in weights:
            fused.append((weights[entry.name], scored.maps))
    if fused:
        maps = [fused_map([(weight, one[row]) for weight, one in fused]) for row in range(len(images))]
        scoreboard.add_maps(COMMITTEE_SCORE, canvas, images, maps, 1.0)


def member_names(inputs: LaneInputs, plan: DetectorPlan) -> dict[str, ScoreName]:
    """Member of the committee, or the method alone → its score's name."""
    kinds = {plan.method: METHOD} | dict.fromkeys(inputs.others, MEMBER)
    return {name: ScoreName(kind=kinds.get(name, CONTROL), owner=name) for name in plan.weights or (plan.method,)}
