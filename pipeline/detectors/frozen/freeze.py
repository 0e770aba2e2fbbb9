"""``<dataset>/detector``: the lane's committee with all its members, their statistics and calibration, frozen.

It holds nothing of a test image. Members that compare images with training normals hold copies of those (``copies``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.scoring import Array, ScoreConfig
from pipeline.data.datasets import Dataset
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.frozen.calibration import fit_domain, textures
from pipeline.detectors.frozen.files import write_arrays, write_description, write_scorer
from pipeline.detectors.images import stitched
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import COMMITTEE, OWN, CanvasScorer, committee_score, fused_map, normal_scores
from pipeline.detectors.volumes import volume_table
from pipeline.forms import FORMS
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import read_index, tiles_of

MOST = 500  # largest number of training normals that the domain is fitted to
VERSION = "9"  # raise it when a change of the step's code changes its result; part of the asset's code version


@dataclass(frozen=True, kw_only=True)
class DetectorPlan:
    """Which members a lane's detector has and how they are weighted."""

    method: str  # the lane's own
    scores: Mapping[str, ScoreConfig]  # canvas → how the method's residual becomes a score
    flip_average: bool = False  # average maps of networks with those of the mirrored images
    controls: tuple[Control, ...] = ()  # those of the committee
    member_scores: Mapping[str, ScoreConfig] = field(default_factory=dict)  # other learned method → its own
    committee: Mapping[str, float] = field(default_factory=dict)  # OWN, other learned method or control → weight

    @property
    def weights(self) -> dict[str, float]:
        """Member → weight; empty where the method stands alone."""
        named = {self.method if name == OWN else name: weight for name, weight in self.committee.items()}
        return {} if set(named) <= {self.method} else named


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Stored versions that the members are made of."""

    tiles: Version
    stage: Version  # the trained method
    members: Version | None = None  # other learned methods, one folder each

    @property
    def others(self) -> dict[str, tuple[Version, str]]:
        """Other learned method → its version and folder."""
        return {} if self.members is None else {name: (self.members, name) for name in self.members.meta["members"]}


def fit_networks(
    plan: DetectorPlan, trained: Trained, proxies: Version | None = None, *, keep: bool = False
) -> dict[str, dict[str, tuple[CanvasScorer, list[Array]]]]:
    """Learned method → canvas → scorer, and maps of the validation normals; ``keep`` as in ``Standardiser.fit``."""
    networks = {plan.method: (trained.stage, ""), **trained.others}
    found: dict[str, dict[str, tuple[CanvasScorer, list[Array]]]] = {}
    for name, (version, folder) in networks.items():
        for canvas, usual in plan.scores.items():
            score = usual if name == plan.method else plan.member_scores.get(name, usual)
            detector = NetworkDetector.trained(
                version, trained.tiles, canvas, score, flip_average=plan.flip_average, member=folder, proxies=proxies
            )
            found.setdefault(name, {})[canvas] = CanvasScorer.fit(detector, trained.tiles, proxies, keep=keep)
    return found


def freeze_detector(
    dataset: Dataset, plan: DetectorPlan, trained: Trained, store: Store, *, form: str, preset: str, code_version: str
) -> Version:
    """Fit every member, calibrate by the validation normals, and publish ``<dataset>/detector``."""
    asset, versions = f"{dataset.name}/detector", [trained.tiles, trained.stage, trained.members]
    used = {version.asset: version.data_version for version in versions if version is not None}
    key = fingerprint(used, plan, form, preset, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, seed = work / "content", trained.stage.meta["seed"]
        fitted = fit_networks(plan, trained)
        for control in plan.controls:
            detector = control.fit(trained.tiles)
            fitted.setdefault(control.name, {})[control.canvas] = CanvasScorer.fit(detector, trained.tiles)
        members = {name: {canvas: scorer for canvas, (scorer, _) in one.items()} for name, one in fitted.items()}
        entries = {
            name: {canvas: write_scorer(content / name / canvas, scorer) for canvas, scorer in member.items()}
            for name, member in members.items()
        }
        for control in plan.controls:
            entries[control.name][control.canvas]["control"] = control.name
        farthest = {}
        for canvas in plan.scores:
            domain = fit_domain(*(_textures(trained.tiles, canvas, split) for split in ("train", "val")))
            write_arrays(content / "domain" / f"{canvas}.safetensors", domain)
            farthest[canvas] = domain.farthest
        described = {
            "dataset": dataset.name,
            "title": dataset.title,
            "form": form,
            "form_version": FORMS[form].version,
            "members": entries,
            "weights": plan.weights,
            "calibrations": _calibrations(fitted, plan.weights, _volumes(trained.tiles)),
            "farthest": farthest,
            "copies": [n for n, one in members.items() if any(s.detector.holds_copies() for s in one.values())],
            "facts": {"method": plan.method, "preset": preset, "seed": seed, "versions": used},
        }
        meta = {"members": list(members), "calibrated_on": len(normal_scores(members[plan.method])), "seed": seed}
        return store.publish(asset, content, write_description(content, described), meta)


def _calibrations(
    fitted: Mapping[str, Mapping[str, tuple[CanvasScorer, list[Array]]]],
    weights: Mapping[str, float],
    volumes: Mapping[str, str],
) -> dict[str, dict[str, list[float]]]:
    """Name → scores and hottest places of the validation normals, sorted, and scores of their volumes, if there are any

    (image id → volume); the committee comes first.
    """
    members = {name: {canvas: scorer for canvas, (scorer, _) in one.items()} for name, one in fitted.items()}
    found = {}
    for name, chosen in {**({COMMITTEE: dict(weights)} if weights else {}), **{n: {n: 1.0} for n in members}}.items():
        scores = {member: np.array(list(normal_scores(members[member]).values())) for member in chosen}
        total = committee_score(weights, members, scores) if name == COMMITTEE else scores[name]
        peaks = dict.fromkeys(normal_scores(members[next(iter(chosen))]), -np.inf)
        for canvas in dict.fromkeys(canvas for member in chosen for canvas in members[member]):
            parts = [(chosen[member], *fitted[member][canvas]) for member in chosen if canvas in fitted[member]]
            for row, image_id in enumerate(parts[0][1].image_ids):
                shown = fused_map([(weight, maps[row]) for weight, _, maps in parts])
                peaks[image_id] = max(peaks[image_id], float(shown.max()))
        found[name] = {"images": sorted(total.tolist()), "peaks": sorted(peaks.values())}
        slices = pd.DataFrame({"volume": [volumes.get(image_id, "") for image_id in peaks], "score": total})
        if len(scored := volume_table(slices, ["score"])):
            found[name]["volumes"] = sorted(scored["score"].tolist())
    return found


def _volumes(tiles: Version) -> dict[str, str]:
    """Image id → volume; nothing where there are no volumes."""
    index = read_index(tiles)
    return dict(zip(index["image_id"].astype(str), index["volume"], strict=True)) if "volume" in index else {}


def _textures(tiles: Version, canvas: str, split: str) -> NDArray[np.float64]:
    """Texture features (n, F) of at most ``MOST`` images of a split, read a few at a time."""
    index = read_index(tiles)
    names = index[(index["split"] == split) & (index["canvas"] == canvas)]["image_id"].unique()
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(MOST, len(names))).astype(int))]
    parts = [chosen[start : start + 32] for start in range(0, len(chosen), 32)]
    held = (tiles_of(tiles, None, canvas=canvas, image_ids=part) for part in parts)
    return np.concatenate([textures(stitched(one, canvas)) for one in held])
