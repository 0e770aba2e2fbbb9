"""A detector that is made in seconds: an untrained network on noisy discs, for fuzzing and for tests of requests."""

from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from models.checkpoint import save_method
from models.methods import METHODS, build
from models.scoring import ScoreConfig
from pipeline.data.datasets import DATASETS
from pipeline.detectors.frozen.freeze import DetectorPlan, Trained, freeze_detector
from pipeline.forms import FORMS
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Store, Version

METHOD, FORM, CANVAS = "denoising", "plain", "image"
SPLITS = ["train"] * 8 + ["val"] * 24


def disc(rng: np.random.Generator, shape: tuple[int, int] = (64, 80)) -> NDArray[np.uint8]:
    """A dark disc on gray, with noise, (H, W)."""
    rows, cols = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    picture = 120 - 60 * (np.hypot(rows, cols) < 0.5) + rng.normal(0, 12, shape) + rng.normal(0, 9)
    return np.clip(picture, 0, 255).astype(np.uint8)


def small_detector(folder: Path) -> Version:
    """The detector's version, in a store of its own below ``folder``."""
    rng, form = np.random.default_rng(3), FORMS[FORM]
    tiles = [form.cut(disc(rng), {})[0] for _ in SPLITS]
    path = folder / "tiles"
    group = zarr.open_group(path, mode="w", attributes={"neutral": form.neutral})
    for name in ("pixels", "validity"):
        values = np.stack([getattr(tile, name) for tile in tiles])
        create(group, name, values.shape, shard=8, level=1)
        write_rows(open_array(path, name, "r+"), 0, values)
    index = pd.DataFrame({"tile": range(len(SPLITS)), "image_id": [f"i{n}" for n in range(len(SPLITS))]})
    index = index.assign(split=SPLITS, label=0, klass="normal", group=index["image_id"], canvas=CANVAS)
    index = index.assign(canvas_row=0, canvas_col=0, offset_row=0.0, offset_col=0.0)
    index.to_parquet(path / "index.parquet")
    network = build(METHOD, METHODS[METHOD].config_type(), seed=0)
    save_method(network, folder / "stage" / CANVAS, stage=network.stages[-1].name, extra={"size": [32, 32]})
    trained = Trained(
        tiles=Version(asset="oct/tiles", path=path, data_version="a" * 16, meta={}),
        stage=Version(asset=f"oct/{METHOD}", path=folder / "stage", data_version="b" * 16, meta={"seed": 0}),
    )
    plan = DetectorPlan(method=METHOD, scores={CANVAS: ScoreConfig(sigma=1.0)})
    store = Store(folder / "stores")
    return freeze_detector(DATASETS["oct"], plan, trained, store, form=FORM, preset="sample", code_version="1")
