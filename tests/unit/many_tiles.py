"""Stored tiles of several shards, in mixed splits, for the tests of streaming and of several processes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from models.schedule import TrainConfig
from pipeline.forms.form import NO_DATA, SCORED, SEEN
from pipeline.processes import ONE, Processes
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Version
from pipeline.tiles.streaming import TrainingData
from pipeline.training import CanvasTraining, Training, TrainingPlan
from tests.unit.short_training import METHOD

CANVAS, SIZE, SHARD, COUNT = "image", (16, 16), 4, 70
TRAIN = TrainConfig(steps=14, batch_size=4, evaluate_every=5, checkpoint_every=4, log_every=2)


def draw(folder: Path) -> Version:
    """Tiles of 32 px with proxies in ``proxies/`` for training, validation and another canvas."""
    rng, side = np.random.default_rng(1), 32
    coarse = rng.integers(0, 200, (COUNT, 1, 8, 8)).repeat(4, 2).repeat(4, 3).astype(np.uint8)
    validity = np.full((COUNT, side, side), SCORED, np.uint8)
    validity[:, :5], validity[:, 5:9] = NO_DATA, SEEN
    noisy = coarse + rng.integers(0, 30, coarse.shape).astype(np.uint8)
    arrays = {("", "pixels"): noisy, ("", "validity"): validity, ("proxies", "pixels"): coarse}
    for (part, name), values in arrays.items():
        group = zarr.open_group(folder / part, mode="a", attributes={"neutral": 7})
        create(group, name, values.shape, shard=SHARD, level=1)
        write_rows(open_array(folder / part, name, "r+"), 0, values)
    index = pd.DataFrame({"tile": range(COUNT), "image_id": [f"i{n}" for n in range(COUNT)], "label": 0})
    index["split"] = ["val" if n % 7 == 3 else "train" for n in range(COUNT)]
    index["canvas"] = ["other" if n % 10 == 9 else CANVAS for n in range(COUNT)]
    index.to_parquet(folder / "index.parquet")
    return Version(asset="x/normals", path=folder, data_version="a" * 16, meta={})


def proxies(tiles: Version) -> Version:
    return Version(asset="x/normals", path=tiles.path / "proxies", data_version="a" * 16, meta={})


def data(tiles: Version, memory: float = 1e9) -> TrainingData:
    return TrainingData(tiles=tiles, proxies=proxies(tiles), canvas=CANVAS, size=SIZE, memory=memory)


def training(tiles: Version, processes: Processes = ONE, log=lambda step, figures: None, steps: int = 14) -> Training:
    stages = dict.fromkeys(("stage1", "stage2"), replace(TRAIN, steps=steps))
    plan = TrainingPlan(method="proxyano", canvases={CANVAS: CanvasTraining(size=SIZE, model=METHOD, stages=stages)})
    common = {"asset": "x/stage1", "code_version": "1", "seed": 4, "progress": False, "plan": plan}
    return Training(tiles=tiles, proxies=proxies(tiles), processes=processes, log=log, **common)
