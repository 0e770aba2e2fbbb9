"""PatchCore, PaDiM and GANomaly beside anomalib on the same images: AUROC, minutes, speed.

    PROXYANO_RAW=… PROXYANO_PRESET=quick OMP_NUM_THREADS=1 python -m benchmarks.peer PYTHON OUT [data set … | ganomaly]

``PYTHON`` is the interpreter of an environment with anomalib 2.7 and the package of the weights. Tiles must have been
made; the lane's first canvas is compared. Both sides use EfficientNet-lite2's outputs at an eighth and a sixteenth of
the side. Our score is the product's (statistics of validation normals), anomalib's that of its models. Writes
``OUT/peer.json`` and prints a table. ``ganomaly`` measures training and scoring at the paper's widths, 64 px, in
batches of 64 random images with three channels, on one thread: images a second, best of three.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.speed import best
from models.method import Batch
from models.methods import METHODS, build
from models.metrics import auroc
from models.schedule import TrainConfig
from models.source import TensorSource
from models.trainer import _Run
from pipeline.detectors.controls.registry import Control
from pipeline.detectors.images import BLOCK, stitched
from pipeline.detectors.standardise import CanvasScorer
from pipeline.experiments.lane import Lane
from pipeline.experiments.presets import PRESETS
from pipeline.store.versions import Store, Version
from pipeline.tiles.loading import load_tiles
from pipeline.wiring.settings import Settings

DATASETS = ("brain_mri", "oct")
COUNT = 64  # images of a batch of GANomaly
BLOCKS = (6, 14)  # the two outputs that timm names as well
SPLITS = ("train", "holdout", "test")


def main() -> None:
    """Compare on the named data sets, or on both."""
    python, target, settings = sys.argv[1], Path(sys.argv[2]), Settings()
    rows: list[dict[str, Any]] = []
    target.mkdir(parents=True, exist_ok=True)
    if sys.argv[3:] == ["ganomaly"]:
        rows = [*_ganomaly(), *_peer(python, "ganomaly")]
        print(pd.DataFrame(rows).round(1).to_markdown(index=False))
        (target / "ganomaly.json").write_text(json.dumps(rows, indent=1) + "\n")
        return
    for dataset in sys.argv[3:] or DATASETS:
        lane = PRESETS[settings.preset_name].lanes[dataset]
        tiles = Store(settings.stores).current(f"{dataset}/tiles")
        canvas = next(iter(lane.training.canvases))
        rows.append({"dataset": dataset, "tiles": tiles.data_version} | _own(lane, tiles, canvas))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npz"
            np.savez(file, **_images(tiles, canvas))
            found = _peer(python, str(file))
        rows += [{"dataset": dataset, "tiles": tiles.data_version} | one for one in found]
        print(pd.DataFrame(rows).round(3).to_markdown(index=False), flush=True)
    (target / "peer.json").write_text(json.dumps(rows, indent=1) + "\n")


def _peer(python: str, work: str) -> list[dict[str, Any]]:
    """What the other side printed last."""
    command = [python, str(Path(__file__).with_name("peer_anomalib.py")), work]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows: list[dict[str, Any]] = json.loads(found.splitlines()[-1])
    return rows


def _ganomaly() -> Iterator[dict[str, Any]]:
    """Speed of this project's GANomaly, in both precisions of training."""
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (COUNT, 3, 64, 64), dtype=torch.uint8)
    source = TensorSource(images=images)
    batch = Batch(image=images.float() / 255, proxy=None, valid=torch.ones(COUNT, 1, 64, 64))
    for precision in ("32-true", "bf16-mixed"):
        method = build("ganomaly", METHODS["ganomaly"].config_type(channels=3), seed=0)
        (stage,) = method.stages
        config = TrainConfig(steps=100, batch_size=COUNT, learning_rate=2e-4, precision=precision)
        with tempfile.TemporaryDirectory() as folder:
            run = _Run(method, stage, source, source, config, Path(folder), 0, "")
            trained = COUNT / best(run._step, 3)
        method.eval()
        with torch.inference_mode():
            scored = COUNT / best(lambda method=method: method.score(batch), 3)
        yield {"by": "ProxyAno", "precision": precision, "training": trained, "scoring": scored}


def _own(lane: Lane, tiles: Version, canvas: str) -> dict[str, Any]:
    """The product's member with the blocks of the comparison."""
    member = next(one for one in lane.pretrained if one.canvas == canvas)
    control: Control = replace(member, options={"blocks": BLOCKS})
    began = time.monotonic()
    scorer, _ = CanvasScorer.fit(control.fit(tiles), tiles)
    minutes, scores, labels = (time.monotonic() - began) / 60, {}, {}
    began = time.monotonic()
    for split in SPLITS[1:]:
        held = load_tiles(tiles, None, splits=(split,), canvas=canvas)
        labels[split] = held.index.drop_duplicates("image_id")["label"].to_numpy()
        scores[split] = np.concatenate([scorer.score(block).z for block in held.blocks(BLOCK)])
    speed = sum(map(len, scores.values())) / (time.monotonic() - began)
    figures = {"auroc": auroc(labels["test"] == 1, scores["test"]), "auroc_heldout": _heldout(labels, scores)}
    return {"by": "ProxyAno", "model": "PatchCore", "fit_minutes": minutes, "images_per_second": speed} | figures


def _heldout(labels: dict[str, Any], scores: dict[str, Any]) -> float:
    """Abnormal test images against held-out training normals."""
    abnormal = scores["test"][labels["test"] == 1]
    truth = np.repeat([False, True], [len(scores["holdout"]), len(abnormal)])
    return auroc(truth, np.concatenate([scores["holdout"], abnormal]))


def _images(tiles: Version, canvas: str) -> dict[str, Any]:
    """Gray images (n, H, W) as uint8 and labels of each split."""
    found = {}
    for split in SPLITS:
        held = stitched(load_tiles(tiles, None, splits=(split,), canvas=canvas), canvas)
        found[split] = np.rint(held.gray * 255).astype(np.uint8)
        found[f"{split}_labels"] = held.images["label"].to_numpy(int)
    return found


if __name__ == "__main__":
    main()
