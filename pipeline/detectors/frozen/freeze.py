"""``<dataset>/detector``: the trained method, the statistics of its validation normals and the calibration, frozen.

A version holds ``detector.json`` and for each canvas ``<canvas>/weights.safetensors``, ``method.json`` and
``normal.safetensors``. Nothing of a test image is in it.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_method, read_description
from models.files import content_hash, read_tensors, write_tensors
from models.scoring import NormalStatistics, ScoreConfig
from pipeline.data.datasets import Dataset
from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.frozen.detector import CanvasDetector, Detector
from pipeline.detectors.frozen.domain import Domain, fit_domain, texture
from pipeline.detectors.inference import predict_canvas
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import residual_parts, score_canvas, stitched
from pipeline.detectors.similar import SimilarNormals
from pipeline.errors import ConfigError, StoreCorrupt
from pipeline.forms import FORMS
from pipeline.forms.form import TILE
from pipeline.store.versions import Store, Version, fingerprint, write_file
from pipeline.tiles.loading import TileSet, read_index, read_rows
from pipeline.training import checkpoint_folder

FORMAT = 4
DESCRIPTION = "detector.json"
NORMAL = "normal.safetensors"
SIMILAR = ("images", "scored", "smoothed", "offsets")
"""Arrays of ``SimilarNormals`` that a detector keeps, where its score needs them."""
BESIDE = ("images", "scored", "residual")
"""The same of ``NormalResiduals``."""

MOST = 500
"""Training normals that the domain is learned from; more would say nothing new."""


VERSION = "6"
"""Raise it when a change of the step's code changes its result; part of the asset's code version."""


def freeze_detector(
    dataset: Dataset,
    tiles: Version,
    stage: Version,
    scores: Mapping[str, ScoreConfig],
    store: Store,
    *,
    flip_average: bool,
    form: str,
    preset: str,
    code_version: str,
    progress: bool = True,
) -> Version:
    """Score the validation normals with the trained ``stage`` and publish the detector."""
    asset = f"{dataset.name}/detector"
    key = fingerprint(tiles.data_version, stage.data_version, scores, flip_average, form, preset, code_version)
    with store.building(asset, key) as work:
        if (done := store.built(asset, key)) is not None:
            return done
        content, canvases = work / "content", dict[str, Any]()
        totals, peaks = dict[str, float](), dict[str, float]()
        for name, score in scores.items():
            found = _Frozen(tiles, stage, name, score, flip_average, progress)
            found.write(content / name)
            canvases[name] = found.described
            for image, total, peak in zip(found.names, found.standard, found.peaks, strict=True):
                totals[image] = totals.get(image, 0.0) + float(total)
                peaks[image] = max(peaks.get(image, -np.inf), float(peak))
        described = {
            "format": FORMAT,
            "dataset": dataset.name,
            "title": dataset.title,
            "form": form,
            "form_version": FORMS[form].version,
            "flip_average": flip_average,
            "canvases": canvases,
            "images": sorted(totals.values()),
            "peaks": sorted(peaks.values()),
            "facts": {
                "method": read_description(content / next(iter(canvases)))["method"],
                "preset": preset,
                "seed": stage.meta["seed"],
                "versions": {tiles.asset: tiles.data_version, stage.asset: stage.data_version},
            },
        }
        write_file(content / DESCRIPTION, json.dumps(described, indent=1, allow_nan=False).encode())
        meta = {"canvases": list(canvases), "calibrated_on": len(totals), "seed": stage.meta["seed"]}
        return store.publish(asset, content, fingerprint(described), meta)


class _Frozen:
    """One canvas of the detector."""

    def __init__(
        self, tiles: Version, stage: Version, name: str, score: ScoreConfig, flip_average: bool, progress: bool
    ) -> None:
        self.source = checkpoint_folder(stage, name)
        if load_method(self.source).needs_proxy:
            raise ConfigError(
                f"{stage.asset}: its method needs true proxies, which a new image has not; freeze another"
            )
        seen = predict_canvas(
            stage,
            tiles,
            tiles,
            canvas=name,
            splits=("val",),
            flip_average=flip_average,
            score=score,
            progress=progress,
        )
        scored = score_canvas(seen.images, residual_parts(seen.steady, seen.images, score), score)
        raw = scored.raw()
        self.names = [str(image) for image in seen.images.images["image_id"]]
        self.mean, self.sd = float(raw.mean()), float(raw.std())
        self.standard = (raw - raw.mean()) / max(self.sd, 1e-12)
        self.peaks = [float(scored.map_of(row).max()) for row in range(len(raw))]
        self.domain = fit_domain(*(_textures(tiles, name, split) for split in ("train", "val")))
        self.tensors = {
            "mean": torch.from_numpy(scored.normal.mean),
            "sd": torch.from_numpy(scored.normal.sd),
            "domain_mean": torch.from_numpy(self.domain.mean),
            "domain_sd": torch.from_numpy(self.domain.sd),
            "domain_normals": torch.from_numpy(self.domain.normals),
        }
        for name in BESIDE if seen.normals else ():
            self.tensors[f"beside_{name}"] = torch.from_numpy(getattr(seen.normals, name))
        if scored.similar:
            self.tensors |= {f"similar_{name}": torch.from_numpy(getattr(scored.similar, name)) for name in SIMILAR}
        self.score = score

    @property
    def described(self) -> dict[str, Any]:
        return {
            "size": list(read_description(self.source)["extra"]["size"]),
            "score": asdict(self.score),
            "mean": self.mean,
            "sd": self.sd,
            "farthest": self.domain.farthest,
            "weights": read_description(self.source)["weights"],
            "normal": content_hash(self.tensors),
        }

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("weights.safetensors", "method.json"):
            shutil.copyfile(self.source / file, folder / file)
        write_tensors(folder / NORMAL, self.tensors, {})


def read_detector(folder: Path, *, device: str = "auto") -> Detector:
    """The detector in a folder, its weights and statistics checked against their hashes."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise StoreCorrupt(f"{folder} is no detector: expected {path}, got none; materialize <data set>/detector")
    described = json.loads(path.read_text())
    if described.get("format") != FORMAT:
        raise StoreCorrupt(f"{path}: expected format {FORMAT}, got {described.get('format')}; materialize it again")
    return Detector(
        dataset=described["dataset"],
        title=described["title"],
        form_name=described["form"],
        form_version=described["form_version"],
        flip_average=described["flip_average"],
        canvases={name: _canvas(folder / name, entry) for name, entry in described["canvases"].items()},
        images=Calibration.of(np.array(described["images"])),
        peaks=Calibration.of(np.array(described["peaks"])),
        facts=described["facts"],
        data_version=fingerprint(described),
        device=device,
    )


def _canvas(folder: Path, entry: Mapping[str, Any]) -> CanvasDetector:
    tensors, _ = read_tensors(folder / NORMAL)
    if (found := content_hash(tensors)) != entry["normal"]:
        raise StoreCorrupt(f"{folder / NORMAL}: expected hash {entry['normal']}, got {found}; materialize it again")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    height, width = entry["size"]
    score = ScoreConfig(**{**entry["score"], "lines": tuple(entry["score"]["lines"])})
    return CanvasDetector(
        size=(int(height), int(width)),
        score=score,
        method=load_method(folder),
        normal=NormalStatistics(arrays["mean"], arrays["sd"]),
        similar=_similar(arrays, score) if score.similar else None,
        beside=NormalResiduals(*(arrays[f"beside_{name}"] for name in BESIDE)) if score.beside else None,
        mean=entry["mean"],
        sd=entry["sd"],
        domain=Domain(arrays["domain_mean"], arrays["domain_sd"], arrays["domain_normals"], entry["farthest"]),
    )


def _similar(arrays: Mapping[str, NDArray[Any]], score: ScoreConfig) -> SimilarNormals:
    images, scored, smoothed, offsets = (arrays[f"similar_{name}"] for name in SIMILAR)
    return SimilarNormals(images, scored, smoothed, offsets, score)


def _textures(tiles: Version, canvas: str, split: str) -> NDArray[np.float64]:
    """Features (n, F) of at most ``MOST`` images of a split, read a few at a time."""
    index = read_index(tiles)
    index = index[(index["split"] == split) & (index["canvas"] == canvas)]
    names = index["image_id"].unique()
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(MOST, len(names))).astype(int))]
    found = []
    for start in range(0, len(chosen), 32):
        part = index[index["image_id"].isin(chosen[start : start + 32])].reset_index(drop=True)
        rows = part["tile"].to_numpy()
        held = TileSet(read_rows(tiles, "pixels", rows), None, read_rows(tiles, "validity", rows), part)
        images = stitched(held, canvas, (TILE, TILE))
        found += [texture(images.gray[row], images.validity[row]) for row in range(len(images.images))]
    return np.stack(found)
