"""``<dataset>/detector``: the trained method, the statistics of its validation normals and the calibration, frozen.

A version holds ``detector.json`` and for each canvas ``<canvas>/weights.safetensors``, ``method.json`` and
``normal.safetensors``. It holds nothing of a test image.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.checkpoint import content_hash, load_method, read_description, read_tensors, write_tensors
from models.scoring import NormalStatistics, ScoreConfig, z_score
from pipeline.data.datasets import Dataset
from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.frozen.detector import CanvasDetector, Detector
from pipeline.detectors.frozen.domain import Domain, fit_domain, textures
from pipeline.detectors.inference import network_folder, predict_canvas, trained_size
from pipeline.detectors.normal_residuals import NormalResiduals
from pipeline.detectors.scorers import residual_parts, score_canvas, stitched
from pipeline.detectors.similar import SimilarNormals
from pipeline.errors import StoreCorrupt
from pipeline.forms import FORMS
from pipeline.store.versions import Store, Version, fingerprint, write_file
from pipeline.tiles.loading import TileSet, read_index, read_rows

FORMAT = 4
DESCRIPTION = "detector.json"
NORMAL = "normal.safetensors"
NETWORK = ("weights.safetensors", "method.json")
Part = TypeVar("Part", NormalStatistics, SimilarNormals, NormalResiduals, Domain)
PREFIXES = {"normal": "", "domain": "domain_", "beside": "beside_", "similar": "similar_"}
"""Field of ``CanvasDetector`` whose arrays are stored → prefix of their names in ``NORMAL``."""

MOST = 500
"""Largest number of training normals that the domain is fitted to."""

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
            canvas, normals = _fit_canvas(tiles, stage, name, score, flip_average, progress)
            canvases[name] = _write_canvas(content / name, canvas, network_folder(stage, name))
            for image, (total, peak) in normals.items():
                totals[image] = totals.get(image, 0.0) + total
                peaks[image] = max(peaks.get(image, -np.inf), peak)
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


def _fit_canvas(
    tiles: Version, stage: Version, name: str, score: ScoreConfig, flip_average: bool, progress: bool
) -> tuple[CanvasDetector, dict[str, tuple[float, float]]]:
    """The detector of one canvas, and (score in sd, hottest place) of each validation normal by its id."""
    seen = predict_canvas(
        stage, tiles, None, canvas=name, splits=("val",), flip_average=flip_average, score=score, progress=progress
    )
    scored = score_canvas(seen.images, residual_parts(seen.steady, seen.images, score), score)
    raw = scored.raw()
    canvas = CanvasDetector(
        size=trained_size(stage, name),
        score=score,
        method=load_method(network_folder(stage, name)),
        normal=scored.normal,
        similar=scored.similar,
        beside=seen.normals,
        mean=float(raw.mean()),
        sd=float(raw.std()),
        domain=fit_domain(*(_textures(tiles, name, split) for split in ("train", "val"))),
    )
    names, standard = seen.images.images["image_id"], z_score(raw, raw)
    peaks = [float(scored.map_of(row).max()) for row in range(len(raw))]
    return canvas, {str(image): (float(standard[row]), peaks[row]) for row, image in enumerate(names)}


def _textures(tiles: Version, canvas: str, split: str) -> NDArray[np.float64]:
    """Texture features (n, F) of at most ``MOST`` images of a split, read a few at a time."""
    index = read_index(tiles)
    index = index[(index["split"] == split) & (index["canvas"] == canvas)]
    names = index["image_id"].unique()
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(MOST, len(names))).astype(int))]
    found = []
    for start in range(0, len(chosen), 32):
        part = index[index["image_id"].isin(chosen[start : start + 32])].reset_index(drop=True)
        rows = part["tile"].to_numpy()
        held = TileSet(read_rows(tiles, "pixels", rows), None, read_rows(tiles, "validity", rows), part)
        found.append(textures(stitched(held, canvas)))
    return np.concatenate(found)


def _write_canvas(folder: Path, canvas: CanvasDetector, checkpoint: Path) -> dict[str, Any]:
    """Write the files of one canvas; its entry in ``detector.json``."""
    folder.mkdir(parents=True)
    for file in NETWORK:
        shutil.copyfile(checkpoint / file, folder / file)
    tensors = {
        PREFIXES[part] + field.name: torch.from_numpy(getattr(holder, field.name))
        for part in PREFIXES
        if (holder := getattr(canvas, part)) is not None
        for field in fields(holder)
        if isinstance(getattr(holder, field.name), np.ndarray)
    }
    write_tensors(folder / NORMAL, tensors, {})
    return {
        "size": list(canvas.size),
        "score": asdict(canvas.score),
        "mean": canvas.mean,
        "sd": canvas.sd,
        "farthest": canvas.domain.farthest,
        "weights": read_description(checkpoint)["weights"],
        "normal": content_hash(tensors),
    }


def read_detector(folder: Path, *, device: str = "auto") -> Detector:
    """The detector in a folder; ``StoreCorrupt`` if weights or statistics do not match their hashes."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise StoreCorrupt(f"{folder} is no detector: expected {path}, got none; materialize <data set>/detector")
    described = json.loads(path.read_text())
    if described.get("format") != FORMAT:
        raise StoreCorrupt(f"{path}: expected format {FORMAT}, got {described.get('format')}; materialize it again")
    return Detector(
        **{name: described[name] for name in ("dataset", "title", "form_version", "flip_average", "facts")},
        form_name=described["form"],
        canvases={name: _read_canvas(folder / name, entry) for name, entry in described["canvases"].items()},
        images=Calibration.of(np.array(described["images"])),
        peaks=Calibration.of(np.array(described["peaks"])),
        data_version=fingerprint(described),
        device=device,
    )


def _read_canvas(folder: Path, entry: Mapping[str, Any]) -> CanvasDetector:
    tensors, _ = read_tensors(folder / NORMAL)
    if (found := content_hash(tensors)) != entry["normal"]:
        raise StoreCorrupt(f"{folder / NORMAL}: expected hash {entry['normal']}, got {found}; materialize it again")
    score = ScoreConfig(**{**entry["score"], "lines": tuple(entry["score"]["lines"])})
    height, width = entry["size"]
    return CanvasDetector(
        size=(int(height), int(width)),
        score=score,
        method=load_method(folder),
        normal=_restored(NormalStatistics, "normal", tensors),
        similar=_restored(SimilarNormals, "similar", tensors, config=score) if score.similar else None,
        beside=_restored(NormalResiduals, "beside", tensors) if score.beside else None,
        mean=entry["mean"],
        sd=entry["sd"],
        domain=_restored(Domain, "domain", tensors, farthest=entry["farthest"]),
    )


def _restored(kind: type[Part], part: str, tensors: Mapping[str, Tensor], **more: Any) -> Part:
    """Rebuild a part of a ``CanvasDetector`` from its arrays; ``more`` are its fields that are not arrays."""
    names = {field.name for field in fields(kind)} - set(more)
    values: dict[str, Any] = {name: tensors[PREFIXES[part] + name].numpy() for name in names}
    return kind(**values, **more)
