"""``<dataset>/detector``: the lane's committee with all its members, their statistics and calibration, frozen.

A version holds ``detector.json`` and ``<member>/<canvas>/arrays.safetensors``, of networks also
``weights.safetensors`` and ``method.json``; ``domain/<canvas>.safetensors`` tells images of another kind. It holds
nothing of a test image. Members that compare images with training normals hold copies of those (``copies``).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_method, read_tensors, write_tensors
from models.scoring import Array, ScoreConfig
from pipeline.data.datasets import Dataset
from pipeline.detectors.contract import CanvasDetector
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.frozen.detector import Detector
from pipeline.detectors.frozen.domain import Domain, fit_domain, textures
from pipeline.detectors.images import stitched
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import (
    COMMITTEE,
    OWN,
    CanvasScorer,
    Member,
    Standardiser,
    committee_score,
    fused_map,
    normal_scores,
)
from pipeline.detectors.state import arrays_of, restored
from pipeline.errors import StoreCorrupt
from pipeline.forms import FORMS
from pipeline.store.files import hash_file, write_file
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles.loading import read_index, tiles_of

FORMAT = 5
DESCRIPTION = "detector.json"
ARRAYS = "arrays.safetensors"

MOST = 500  # largest number of training normals that the domain is fitted to
VERSION = "7"  # raise it when a change of the step's code changes its result; part of the asset's code version


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
    """The method and the other learned methods: name → canvas → scorer, and maps of the validation normals.

    ``proxies`` are read by methods that need true ones; ``keep`` as in ``Standardiser.fit``.
    """
    networks = {plan.method: (trained.stage, ""), **trained.others}
    found: dict[str, dict[str, tuple[CanvasScorer, list[Array]]]] = {}
    for name, (version, folder) in networks.items():
        for canvas, usual in plan.scores.items():
            score = usual if name == plan.method else plan.member_scores.get(name, usual)
            detector = NetworkDetector.trained(
                version, trained.tiles, canvas, score, flip_average=plan.flip_average, member=folder
            )
            found.setdefault(name, {})[canvas] = CanvasScorer.fit(detector, trained.tiles, proxies, keep=keep)
    return found


def freeze_detector(
    dataset: Dataset,
    plan: DetectorPlan,
    trained: Trained,
    store: Store,
    *,
    form: str,
    preset: str,
    code_version: str,
) -> Version:
    """Fit every member, calibrate by the validation normals, and publish ``<dataset>/detector``."""
    asset, versions = f"{dataset.name}/detector", [trained.tiles, trained.stage, trained.members]
    used = {version.asset: version.data_version for version in versions if version is not None}
    key = fingerprint(used, plan, form, preset, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content = work / "content"
        fitted = fit_networks(plan, trained)
        for control in plan.controls:
            detector = control.fit(trained.tiles)
            fitted.setdefault(control.name, {})[control.canvas] = CanvasScorer.fit(detector, trained.tiles)
        members = {name: {canvas: scorer for canvas, (scorer, _) in one.items()} for name, one in fitted.items()}
        entries = {
            name: {canvas: _write(content / name / canvas, scorer) for canvas, scorer in member.items()}
            for name, member in members.items()
        }
        for control in plan.controls:
            entries[control.name][control.canvas]["control"] = control.name
        farthest = {canvas: _write_domain(content / "domain", trained.tiles, canvas) for canvas in plan.scores}
        described = {
            "format": FORMAT,
            "dataset": dataset.name,
            "title": dataset.title,
            "form": form,
            "form_version": FORMS[form].version,
            "members": entries,
            "weights": plan.weights,
            "calibrations": _calibrations(fitted, plan.weights),
            "farthest": farthest,
            "copies": [n for n, one in members.items() if any(s.detector.holds_copies() for s in one.values())],
            "facts": {"method": plan.method, "preset": preset, "seed": trained.stage.meta["seed"], "versions": used},
        }
        described["files"] = _hashes(content)
        version = fingerprint(described)
        write_file(content / DESCRIPTION, _text(described).encode())
        normals = len(normal_scores(members[plan.method]))
        meta = {"members": list(members), "calibrated_on": normals, "seed": trained.stage.meta["seed"]}
        return store.publish(asset, content, version, meta)


def _calibrations(
    fitted: Mapping[str, Mapping[str, tuple[CanvasScorer, list[Array]]]], weights: Mapping[str, float]
) -> dict[str, dict[str, list[float]]]:
    """Name → scores and hottest places of the validation normals, sorted; the committee comes first."""
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
    return found


def _write(folder: Path, scorer: CanvasScorer) -> dict[str, Any]:
    """Write the files of one member on one canvas; its entry in ``detector.json``."""
    folder.mkdir(parents=True)
    detector = scorer.detector
    write_tensors(folder / ARRAYS, {name: torch.from_numpy(a.copy()) for name, a in arrays_of(scorer).items()}, {})
    if isinstance(detector, NetworkDetector):
        detector.write(folder)
    return {
        "size": list(detector.size),
        "score": asdict(detector.score),
        "neutral": detector.neutral,
        "flip_average": getattr(detector, "flip_average", False),
        "options": {
            name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
            for name, value in getattr(detector, "options", {}).items()
        },
        "images": list(scorer.image_ids),
    }


def _write_domain(folder: Path, tiles: Version, canvas: str) -> float:
    domain = fit_domain(*(_textures(tiles, canvas, split) for split in ("train", "val")))
    arrays = {name: torch.from_numpy(array) for name, array in arrays_of(domain).items()}
    write_tensors(folder / f"{canvas}.safetensors", arrays, {})
    return domain.farthest


def _textures(tiles: Version, canvas: str, split: str) -> NDArray[np.float64]:
    """Texture features (n, F) of at most ``MOST`` images of a split, read a few at a time."""
    index = read_index(tiles)
    names = index[(index["split"] == split) & (index["canvas"] == canvas)]["image_id"].unique()
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(MOST, len(names))).astype(int))]
    parts = [chosen[start : start + 32] for start in range(0, len(chosen), 32)]
    held = (tiles_of(tiles, None, canvas=canvas, image_ids=part) for part in parts)
    return np.concatenate([textures(stitched(one, canvas)) for one in held])


def _hashes(content: Path) -> dict[str, str]:
    files = sorted(path for path in content.rglob("*") if path.is_file() and path.name != DESCRIPTION)
    return {path.relative_to(content).as_posix(): str(hash_file(path)["sha256"]) for path in files}


def _text(described: Mapping[str, Any]) -> str:
    """The description with its own hash, as it is written."""
    return json.dumps({"sha256": fingerprint(described), **described}, indent=1, allow_nan=False) + "\n"


def read_detector(folder: Path, *, device: str = "auto") -> Detector:
    """The detector in a folder; ``StoreCorrupt`` names the file that is not as it was written."""
    described = _described(folder / DESCRIPTION)
    for name, wanted in described["files"].items():
        path = folder / name
        got = str(hash_file(path)["sha256"]) if path.is_file() else "no file"
        if got != wanted:
            raise StoreCorrupt(f"{path}: expected sha256 {wanted}, got {got}; materialize the detector again")
    calibrations = {
        name: (Calibration.of(np.array(one["images"])), Calibration.of(np.array(one["peaks"])))
        for name, one in described["calibrations"].items()
    }
    members: dict[str, Member] = {
        name: {canvas: _read(folder / name / canvas, canvas, entry, device) for canvas, entry in canvases.items()}
        for name, canvases in described["members"].items()
    }
    return Detector(
        **{name: described[name] for name in ("dataset", "title", "form_version", "weights", "facts")},
        form_name=described["form"],
        name=next(iter(calibrations)),
        members=members,
        calibrations=calibrations,
        domain={
            canvas: restored(Domain, _arrays(folder / "domain" / f"{canvas}.safetensors"), farthest=farthest)
            for canvas, farthest in described["farthest"].items()
        },
        copies=tuple(described["copies"]),
        data_version=fingerprint(described),
    )


def _described(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise StoreCorrupt(f"{path.parent} is no detector: expected {path}, got none; materialize <data set>/detector")
    try:
        text = path.read_text()
        described: dict[str, Any] = json.loads(text)
        wanted = described.pop("sha256", None)
        whole = described.get("format") == FORMAT and text == _text(described)
    except (ValueError, AttributeError) as error:
        raise StoreCorrupt(f"{path}: expected JSON, got {error}; materialize the detector again") from error
    if described.get("format") != FORMAT:
        raise StoreCorrupt(f"{path}: expected format {FORMAT}, got {described.get('format')}; materialize it again")
    if not whole:
        found = fingerprint(described)
        raise StoreCorrupt(
            f"{path}: expected content of hash {wanted}, got {found} or other bytes; materialize it again"
        )
    return described


def _read(folder: Path, canvas: str, entry: Mapping[str, Any], device: str) -> CanvasScorer:
    arrays = _arrays(folder / ARRAYS)
    own, statistics = (
        {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(part)}
        for part in ("detector.", "standardise.")
    )
    score = ScoreConfig(**{**entry["score"], "lines": tuple(entry["score"]["lines"])})
    size = (int(entry["size"][0]), int(entry["size"][1]))
    detector: CanvasDetector
    if "control" in entry:
        row = Control(name=entry["control"], canvas=canvas, size=size, score=score)
        options = row.kind.read_options(entry["options"])
        common = row.common(entry["neutral"]) | {"options": options}
        detector = restored(row.kind, own, **common, **row.kind.nested(options))
    else:
        detector = restored(
            NetworkDetector,
            own,
            canvas=canvas,
            size=size,
            score=score,
            neutral=entry["neutral"],
            method=load_method(folder),
            flip_average=entry["flip_average"],
            device=device,
        )
    return CanvasScorer(
        detector, restored(Standardiser, statistics, config=score, similar=None), tuple(entry["images"])
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in read_tensors(path)[0].items()}
