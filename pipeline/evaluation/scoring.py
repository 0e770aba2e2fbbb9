"""Run a lane's detector, its controls and its nulls over the same images, canvas by canvas, block by block."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from models.arithmetic import release_memory
from models.methods import METHODS
from models.scoring import Array
from pipeline.detectors.contract import CanvasDetector, PixelMaps
from pipeline.detectors.controls.registry import RAW, Control
from pipeline.detectors.frozen.files import arrays_of, read_detector, restored
from pipeline.detectors.frozen.freeze import DetectorPlan, fit_networks
from pipeline.detectors.images import BLOCK
from pipeline.detectors.network import NetworkDetector, NetworkMaps
from pipeline.detectors.standardise import CanvasScorer, Standardiser, committee_score, fused_map
from pipeline.evaluation import nulls
from pipeline.evaluation.carried import Carried, Result
from pipeline.evaluation.entry import Entry
from pipeline.evaluation.score_name import COMMITTEE as COMMITTEE_KIND
from pipeline.evaluation.score_name import CONTROL, MEMBER, METHOD, NULL, PRIMARY, ScoreName
from pipeline.evaluation.scoreboard import CanvasResult, LaneInputs, Scoreboard
from pipeline.store.versions import Version, fingerprint
from pipeline.tiles.loading import TileSet, tile_blocks

RAW_SCALE = 0.05  # typical size of a raw residual or value in [0, 1]: where the bins of its pixel curve are finest
THREADS = 4  # detectors that score a block side by side, at most; each holds its maps in memory
FITTED = "fitted"  # part of the keys of what is fitted to normals
COMMITTEE_SCORE = ScoreName(kind=COMMITTEE_KIND, owner=COMMITTEE_KIND)


@dataclass(frozen=True, kw_only=True)
class ScoringPlan:
    """What scores the images of a lane."""

    detector: DetectorPlan
    controls: tuple[Control, ...]
    nulls: tuple[str, ...]
    keep: bool = False  # the maps of validation normals of learned methods, for copies of those with pasted lesions

    def members(self, inputs: LaneInputs) -> dict[str, Mapping[str, CanvasScorer]]:
        """Those of the frozen detector, by canvas; without one, the method is fitted here."""
        if inputs.detector is not None:
            return dict(read_detector(inputs.detector.path).members)
        fitted = fit_networks(self.detector, inputs, inputs.proxies, keep=self.keep)
        return {name: {canvas: scorer for canvas, (scorer, _) in one.items()} for name, one in fitted.items()}

    def on_canvas(
        self,
        canvas: str,
        members: Mapping[str, Mapping[str, CanvasScorer]],
        scoreboard: Scoreboard,
        carried: Carried,
        recipe: str,
    ) -> "CanvasScoring":
        """What scores on one canvas; ``recipe``: what decides a result beside the images."""
        inputs, plan = scoreboard.inputs, self.detector
        held = {name: member[canvas] for name, member in members.items() if canvas in member}
        names = member_names(inputs, plan)
        weights = {names[name]: weight for name, weight in plan.weights.items()}
        return CanvasScoring(
            scoreboard, carried, recipe, canvas, weights, Entries(inputs, self, canvas, held, carried, recipe)
        )


def score_lane(
    scoring: ScoringPlan, scoreboard: Scoreboard, carried: Carried, recipe: str, elsewhere: "Elsewhere | None" = None
) -> Mapping[str, CanvasScorer]:
    """Fill the scoreboard, with results carried over where there are some; the method's scorers by canvas.

    ``elsewhere`` measures held-out and test images; None: this process does.
    """
    plan, members = scoring.detector, scoring.members(scoreboard.inputs)
    for canvas in plan.scores:
        one = scoring.on_canvas(canvas, members, scoreboard, carried, f"{recipe}/{canvas}")
        scoreboard.gather(one.results(elsewhere))
    names = member_names(scoreboard.inputs, plan)
    if plan.weights:
        scores = {name: scoreboard.table[names[name].column].to_numpy(float) for name in plan.weights}
        scoreboard.table[COMMITTEE_SCORE.column] = committee_score(plan.weights, members, scores)
    return members[plan.method]


@dataclass
class Entries:
    """Everything that scores on one canvas; what is not frozen in the detector is fitted."""

    inputs: LaneInputs
    scoring: ScoringPlan
    canvas: str
    held: Mapping[str, CanvasScorer]  # of the members
    carried: Carried
    recipe: str

    @cached_property
    def all(self) -> list[Entry]:
        """Fitted when the first image has to be scored."""
        return [*self._learned(), *self._controls(), *self._nulls()]

    def _learned(self) -> Iterator[Entry]:
        """The method with its variants, and the other learned methods."""
        plan, tiles = self.scoring.detector, self.inputs.tiles
        own = ScoreName(kind=METHOD, owner=plan.method)
        for name, scorer in self.held.items():
            detector = scorer.detector
            if not isinstance(detector, NetworkDetector):
                continue
            named, raw_map = (own, "residual") if name == plan.method else (ScoreName(kind=MEMBER, owner=name), "")
            yield Entry(named, detector, scorer, raw_map, copies=not detector.method.needs_proxy)
        for variant, changes in METHODS[plan.method].variants.items():
            score, flip = plan.scores[self.canvas], plan.flip_average
            proxies = self.inputs.proxies
            varied = NetworkDetector.trained(
                self.inputs.stage, tiles, self.canvas, score, flip_average=flip, changes=changes, proxies=proxies
            )
            named = replace(own, score=f"{PRIMARY}_{variant}")
            scorer = self._scorer(named, varied, proxies, keep=self.scoring.keep)
            yield Entry(named, varied, scorer, copies=not varied.method.needs_proxy)

    def _controls(self) -> Iterator[Entry]:
        """Controls of the canvas; those of the committee are the frozen ones."""
        for control in (control for control in self.scoring.controls if control.canvas == self.canvas):
            name = ScoreName(kind=CONTROL, owner=control.name)
            if control.name in RAW:
                yield Entry(name, control.fit(self.inputs.tiles), None, "value")
                continue
            scorer = self.held.get(control.name) or self._fitted(name, control)
            raw_map, copies = "residual" if control.options.get("raw") else "", not control.kind.needs_proxies
            yield Entry(name, scorer.detector, scorer, raw_map, copies=copies)

    def _nulls(self) -> Iterator[Entry]:
        """The method's own score with Î replaced; at full size without copies, as a map takes seconds there."""
        method = self.held[self.scoring.detector.method].detector
        for control in nulls.null_controls(method.size, method.canvas, method.score, self.scoring.nulls):
            name, copies = ScoreName(kind=NULL, owner=control.name), not control.kind.needs_proxies
            scorer = self._fitted(name, control)
            yield Entry(name, scorer.detector, scorer, "residual", copies=copies and not control.score.fine)

    def _fitted(self, name: ScoreName, control: Control) -> CanvasScorer:
        proxies = self.inputs.proxies if control.kind.needs_proxies else None
        return self._scorer(name, control.fit(self.inputs.tiles, proxies), proxies)

    def _scorer(
        self, name: ScoreName, detector: CanvasDetector, proxies: Version | None, *, keep: bool = False
    ) -> CanvasScorer:
        """The detector with its statistics of validation normals; carried over unless they hold images."""
        key = f"{self.recipe}/{FITTED}/{name.column}"
        if (known := self.carried.get(key)) is not None:
            statistics = restored(Standardiser, known.arrays, config=detector.score, similar=None)
            return CanvasScorer(detector, statistics, tuple(known.values))
        scorer, _ = CanvasScorer.fit(detector, self.inputs.tiles, proxies, keep=keep)
        if scorer.standardise.similar is None and not keep:
            self.carried.put(key, Result(list(scorer.image_ids), arrays_of(scorer.standardise)))
        return scorer


@dataclass
class CanvasScoring:
    """Scores all images of one canvas, but those whose results are carried over."""

    scoreboard: Scoreboard
    carried: Carried
    recipe: str
    canvas: str
    weights: Mapping[ScoreName, float]  # of the committee
    entries: Entries

    def results(self, elsewhere: "Elsewhere | None" = None) -> dict[str, CanvasResult]:
        """Result of each image and copy. Validation normals come first: they give raw maps their scale."""
        digests, planned = self.scoreboard.inputs.digests, self.scoreboard.copies.get(self.canvas)
        self.carried.keep(f"{self.recipe}/{FITTED}/")
        found = self.carried.each(digests.keys(f"{self.recipe}/{FITTED}", "val", canvas=self.canvas), self._normals)
        keys = digests.keys(self.recipe, "holdout", "test", canvas=self.canvas)
        found |= self.carried.each(keys, partial(elsewhere, self, keys) if elsewhere else self.images)
        if planned is not None:
            originals = fingerprint(self.recipe, digests.of(planned.config.split, canvas=self.canvas))
            keys = {str(name): fingerprint(originals, str(name)) for name in planned.table["image_id"]}
            found |= self.carried.each(keys, self._copies)
        return {image_id: CanvasResult.unpacked(result) for image_id, result in found.items()}

    def _blocks(self, *splits: str, image_ids: Collection[str] | None = None) -> Iterator[TileSet]:
        inputs = self.scoreboard.inputs
        return tile_blocks(
            inputs.tiles, inputs.proxies, canvas=self.canvas, splits=splits, count=BLOCK, image_ids=image_ids
        )

    def _normals(self, _: Collection[str]) -> Iterator[tuple[str, Result]]:
        """All validation normals; the scale of raw maps, their median |I − Î|, is carried over as well."""
        found, residuals = dict[str, CanvasResult](), dict[str, list[Array]]()
        for block in self._blocks("val"):
            for entry in (entry for entry in self.entries.all if entry.measured):
                maps = self._maps(entry, block, found)
                if entry.name.kind == METHOD and maps.residual is not None:
                    residual = np.abs(maps.residual)[maps.images.scored]
                    residuals.setdefault(entry.name.column, []).append(residual)
            release_memory()
        for entry in self.entries.all:
            for image_id, score in {} if entry.scorer is None else entry.scorer.normal_scores().items():
                found.setdefault(image_id, CanvasResult()).values[entry.name.column] = score
        scales = {column: float(np.median(np.concatenate(parts))) or 1e-3 for column, parts in residuals.items()}
        self.carried.put(f"{self.recipe}/{FITTED}/scales", Result(scales))
        yield from ((image_id, result.packed()) for image_id, result in found.items())

    def images(self, image_ids: Collection[str]) -> Iterator[tuple[str, Result]]:
        """Results of some held-out and test images."""
        for block in self._blocks("holdout", "test", image_ids=image_ids):
            yield from self._block(block, self.entries.all)

    def _copies(self, image_ids: Collection[str]) -> Iterator[tuple[str, Result]]:
        tiles = self.scoreboard.copies[self.canvas].painted.tiles
        chosen = tiles.rows(tiles.index["image_id"].isin(list(image_ids)).to_numpy())
        for block in chosen.blocks(BLOCK):
            yield from self._block(block, [entry for entry in self.entries.all if entry.copies])

    def _maps(self, entry: Entry, block: TileSet, found: dict[str, CanvasResult]) -> PixelMaps:
        """Maps of a block, whose raw scores are added to the results ``found``."""
        maps = entry.detector.maps(block)
        image_ids = maps.images.images["image_id"].astype(str)
        for score, values in entry.raw_scores(maps).items():
            column = replace(entry.name, score=score).column
            for image_id, value in zip(image_ids, values, strict=True):
                found.setdefault(image_id, CanvasResult()).values[column] = float(value)
        if isinstance(maps, NetworkMaps) and entry.name.kind == METHOD and entry.name.score == PRIMARY:
            for image_id in image_ids:
                found[image_id].seconds += maps.seconds / len(image_ids)
        return maps

    def _block(self, block: TileSet, entries: list[Entry]) -> Iterator[tuple[str, Result]]:
        """Results of the images of a block; entries are scored side by side, and their results joined in order."""
        release_memory()  # that the block before took
        scales = self.carried.get(f"{self.recipe}/{FITTED}/scales")
        assert scales is not None, "validation normals come first"
        if self.scoreboard.inputs.dataset.lesions:
            self.scoreboard.truth(self.canvas)  # read once, before the threads ask for it
        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, THREADS)) as pool:
            scored = list(pool.map(lambda entry: self._scored(entry, block, scales.values), entries))
        for image_id in dict.fromkeys(block.index["image_id"].astype(str)):
            result = CanvasResult()
            for found, _ in scored:
                result.add(found[image_id])
            committee = zip(entries, scored, strict=True)
            fused = [(self.weights[entry.name], heats[image_id]) for entry, (_, heats) in committee if heats]
            if fused:
                self.scoreboard.measure_map(result, COMMITTEE_SCORE, self.canvas, image_id, fused_map(fused), 1.0)
            yield image_id, result.packed()

    def _scored(
        self, entry: Entry, block: TileSet, scales: Mapping[str, float]
    ) -> tuple[dict[str, CanvasResult], dict[str, Array]]:
        """Results of one entry by image id, and its standardised maps if it is a member of the committee."""
        found, heats = dict[str, CanvasResult](), dict[str, Array]()
        maps = self._maps(entry, block, found)
        image_ids = maps.images.images["image_id"].astype(str).tolist()
        results = [found.setdefault(image_id, CanvasResult()) for image_id in image_ids]
        if entry.raw_map:
            name, scale = replace(entry.name, score=entry.raw_map), scales.get(entry.name.column, RAW_SCALE)
            for image_id, result, plane in zip(image_ids, results, entry.raw_maps(maps), strict=True):
                self.scoreboard.measure_map(result, name, self.canvas, image_id, plane, scale)
        if entry.scorer is not None:
            scored = entry.scorer.standardised(maps)
            for image_id, result, z, heat in zip(image_ids, results, scored.z, scored.maps, strict=True):
                result.values[entry.name.column] = float(z)
                self.scoreboard.measure_map(result, entry.name, self.canvas, image_id, heat, 1.0)
            if entry.name in self.weights:
                heats.update(zip(image_ids, scored.maps, strict=True))
        return found, heats


Elsewhere = Callable[[CanvasScoring, Mapping[str, str], Sequence[str]], Iterator[tuple[str, Result]]]
"""Measures images with these ids, as the scoring does; the mapping has the keys of their results."""


def member_names(inputs: LaneInputs, plan: DetectorPlan) -> dict[str, ScoreName]:
    """Member of the committee, or the method alone → its score's name."""
    kinds = {plan.method: METHOD} | dict.fromkeys(inputs.others, MEMBER)
    return {name: ScoreName(kind=kinds.get(name, CONTROL), owner=name) for name in plan.weights or (plan.method,)}
