"""Capacity against repair: how much may the network hold before it reconstructs lesions too?

    PROXYANO_RAW=… PROXYANO_PRESET=quick python -m benchmarks.capacity docs/results/capacity [data set …]

Designs of ProxyAno that differ from the lane's in one thing each are trained on the lane's first canvas, at half its
training size and a part of its steps, and measured on validation normals alone: R² of the reconstruction, ``repair`` of
what was altered, and AUROC of normals with a pasted lesion against untouched ones (Eq. 13, ‖I − Î‖_F and the lane's
standardised score). Tiles must have been made. Designs that differ in stage 2 alone share stage 1. Networks are kept in
``$PROXYANO_HOME/capacity``: rerun a killed command to resume.
Writes ``<data set>.json`` and ``<data set>.png``.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from models.methods.proxyano_config import ProxyAnoConfig
from models.metrics import auroc
from models.scoring import ScoreConfig
from pipeline.detectors.images import BLOCK
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import CanvasScorer
from pipeline.evaluation.fidelity import image_rows, repair_rows
from pipeline.evaluation.pasted_lesions import PastedConfig, PlannedCopies
from pipeline.experiments.lane import Lane
from pipeline.experiments.presets import PRESETS
from pipeline.store.versions import Store, Version
from pipeline.tiles.loading import load_tiles
from pipeline.tiles.proxies import build_proxies
from pipeline.training import Training, TrainingPlan, train_shared
from pipeline.wiring.settings import Settings

DATASETS = ("brain_mri", "oct", "idrid")
STEPS = {"stage1": 400, "stage2": 250}


@dataclass(frozen=True, kw_only=True)
class Design:
    """One thing changed."""

    name: str
    axis: str  # what it varies
    model: Mapping[str, Any] = field(default_factory=dict)
    segments: int = 800  # superpixels of a 256x256 tile


PAPER_PATCHES = {"patch_on": "true", "makers": (), "local_mean_over": "image", "patch_count": (1, 3)}
DESIGNS = (
    Design(name="lane", axis="lane"),
    Design(name="16 items", axis="memory", model={"memory_items": 16}),
    Design(name="latent / 8", axis="latent", model={"widths": (16, 32, 64, 64)}),
    Design(name="3200 superpixels", axis="proxy", segments=3200),
    Design(name="paper's patches", axis="repairing", model=PAPER_PATCHES),
    Design(name="no repairing", axis="repairing", model={"lambda_global": 0.0, "lambda_local": 0.0}),
    Design(name="twice the repairing", axis="repairing", model={"lambda_global": 0.5, "lambda_local": 1.0}),
    Design(name="no skips", axis="skips", model={"reconstruction_skips": False}),
)
"""The lane, and what holds less (items, latent, no skips), more (proxy), or learns to repair otherwise."""
COLOURS = {
    "lane": "black",
    "memory": "tab:blue",
    "latent": "tab:orange",
    "proxy": "tab:green",
    "repairing": "tab:red",
    "skips": "tab:purple",
}


def main() -> None:
    """Train and measure every design on the named data sets, or on all."""
    settings, target = Settings(), Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for dataset in sys.argv[2:] or DATASETS:
        lane = PRESETS[settings.preset_name].lanes[dataset]
        tiles = Store(settings.stores).current(f"{dataset}/tiles")
        rows = []
        for design in DESIGNS:
            rows.append(_measured(design, lane, tiles, settings))
            print(json.dumps(rows[-1]), flush=True)
        head = {"dataset": dataset, "tiles": tiles.data_version, "seed": settings.seed, "steps": STEPS}
        (target / f"{dataset}.json").write_text(json.dumps(head | {"designs": rows}, indent=1) + "\n")
        _figure(dataset, rows).savefig(target / f"{dataset}.png", dpi=110)


def _measured(design: Design, lane: Lane, tiles: Version, settings: Settings) -> dict[str, Any]:
    canvas, plan = next(iter(lane.training.canvases.items()))
    size = (plan.size[0] // 2, plan.size[1] // 2)
    model = ProxyAnoConfig.from_json(plan.model.to_json() | dict(design.model))
    stages = {name: replace(stage, steps=STEPS[name]) for name, stage in plan.stages.items()}
    small = TrainingPlan(method="proxyano", canvases={canvas: replace(plan, size=size, model=model, stages=stages)})
    config = replace(lane.proxies, segments=design.segments, sizes={canvas: size})
    store, dataset = Store(settings.home / "capacity"), tiles.asset.partition("/")[0]
    began = time.monotonic()
    proxies = build_proxies(tiles, config, store, code_version="", asset=f"{dataset}/proxies_{config.segments}")
    training = Training(
        asset=f"{dataset}/design",
        tiles=tiles,
        proxies=proxies,
        plan=small,
        seed=settings.seed,
        code_version="",
        log=lambda *_: None,
    )
    *_, trained = train_shared(training, store, f"{dataset}/stage1")
    score, flip = lane.evaluation.scores[canvas].scaled(0.5), lane.evaluation.flip_average
    network = NetworkDetector.trained(trained, tiles, canvas, score, flip_average=flip)
    found = {"design": design.name, "axis": design.axis, "minutes": round((time.monotonic() - began) / 60, 1)}
    return found | _figures(network, lane, tiles, proxies)


def _figures(network: NetworkDetector, lane: Lane, tiles: Version, proxies: Version) -> dict[str, float]:
    held = load_tiles(tiles, proxies, splits=("val",), canvas=network.canvas, size=network.size)
    plain = replace(network, score=ScoreConfig(), beside=None, flip_average=False)  # its map is I − Î
    normals = pd.DataFrame(image_rows(plain, held))
    pasted = lane.evaluation.pasted
    assert pasted is not None
    repaired = pd.DataFrame(repair_rows(plain, tiles, pasted)).groupby("subset")["repair"].mean()
    figures = {name: normals[name].mean() for name in ("proxy_ceiling_r2", "proxy_r2", "reconstruction_r2")}
    figures |= {f"repair {kind}": value for kind, value in repaired.items()}
    figures["repair"] = repaired.mean()
    figures |= _detection(network, tiles, replace(pasted, split="val"))
    return {name: round(float(value), 4) for name, value in figures.items()}


def _detection(network: NetworkDetector, tiles: Version, config: PastedConfig) -> dict[str, float]:
    """AUROC of copies with a lesion of medium contrast against the untouched validation normals."""
    scorer, _ = CanvasScorer.fit(network, tiles, keep=True)
    copies = PlannedCopies(tiles, network.canvas, config).painted
    before, after = {"standardised": [scorer.standardise.z(scorer.standardise.raw)]}, {"standardised": []}
    for found, held in (
        (before, load_tiles(tiles, None, splits=("val",), canvas=network.canvas)),
        (after, copies.tiles),
    ):
        for block in held.blocks(BLOCK):
            maps = network.maps(block)
            found.setdefault("latent", []).append(maps.latent)
            found.setdefault("image", []).append(maps.image)
            if found is after:
                found["standardised"].append(scorer.standardised(maps).z)
    medium = copies.table["klass"].str.startswith("medium").to_numpy()
    untouched, altered = ({name: np.concatenate(parts) for name, parts in one.items()} for one in (before, after))
    labels = np.repeat([False, True], [len(untouched["image"]), int(medium.sum())])
    return {
        f"pasted auroc {name}": auroc(labels, np.concatenate([values, altered[name][medium]]))
        for name, values in untouched.items()
    }


def _figure(dataset: str, rows: list[dict[str, Any]]) -> Figure:
    """Reconstruction of normals against repair, and against detection of pasted lesions; one point a design."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    panels = {
        "repair": "share of the pasted error that is repaired",
        "pasted auroc latent": "AUROC of pasted lesions, latent score",
        "pasted auroc standardised": "AUROC of pasted lesions, standardised score",
    }
    for axes, (name, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for row in rows:
            place = (row["reconstruction_r2"], row[name])
            axes.scatter(*place, color=COLOURS[row["axis"]], s=45, zorder=3)
            axes.annotate(row["design"], place, xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel="R² of the reconstruction, validation normals", ylabel=title)
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"{dataset}: capacity against repair (half the training size, {STEPS['stage1']} + {STEPS['stage2']} steps)"
    )
    return figure


if __name__ == "__main__":
    main()
