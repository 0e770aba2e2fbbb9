"""Training on tiles that do not fit into memory: the order, the batches, the memory, and exact resume."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from models.checkpoint import read_fingerprint
from models.source import Order
from models.trainer import fit
from pipeline.errors import DatasetUnusable
from pipeline.processes import Processes
from pipeline.store.versions import Store, Version
from pipeline.tiles.streaming import StreamSource, TrainingData, machine_memory
from pipeline.training import train_stage
from tests.unit.many_tiles import CANVAS, SIZE, TRAIN, data, draw, training

WINDOW = 13
EDGES = (0, 3, 7, 11, 12, 16, 20, 23)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return draw(tmp_path_factory.mktemp("tiles"))


def stream(tiles: Version, window: int) -> StreamSource:
    return data(tiles).streams(window)[0]


@pytest.mark.parametrize("window", [1, 4, 9, 22])
def test_every_row_comes_once_an_epoch_and_blocks_say_where_from(window: int) -> None:
    order = Order(23, 5, seed=1, edges=EDGES, window=window)
    rows = torch.cat([order.rows(step) for step in range(23)])
    for epoch in rows.split(23):
        assert sorted(epoch.tolist()) == list(range(23))
    assert not torch.equal(rows[:23], rows[23:46])
    for step in range(23):
        blocks = np.searchsorted(EDGES, order.rows(step).numpy(), side="right") - 1
        assert set(blocks) <= set(order.blocks(step)), step
    assert torch.equal(order.rows(7), Order(23, 5, seed=1, edges=EDGES, window=window).rows(7))
    assert not torch.equal(order.rows(7), Order(23, 5, seed=2, edges=EDGES, window=window).rows(7))
    for blocks in order.windows(3):
        assert len(blocks) == 1 or sum(EDGES[block + 1] - EDGES[block] for block in blocks) <= window


@pytest.mark.parametrize("window", [0, 23, 99])
def test_a_window_of_everything_is_the_order_in_memory(window: int) -> None:
    for step in range(12):
        assert torch.equal(Order(23, 5, 1, edges=EDGES, window=window).rows(step), Order(23, 5, 1).rows(step))


def test_streamed_images_are_those_in_memory(tiles: Version) -> None:
    held, streamed = data(tiles).sources(0)[0], stream(tiles, WINDOW)
    assert streamed.shape == held.shape
    order = streamed.order(4, seed=0)
    for step in range(30):
        streamed.prepare(order, step)
        one, other = held.batch(order.rows(step)), streamed.batch(order.rows(step))
        for name in ("image", "proxy", "valid", "scored"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        rows = [len(read.result()) for read in streamed._read.values()]
        assert sum(rows) <= 2 * WINDOW, "two windows at most"
    streamed.close()
    assert not streamed._read
    whole = torch.arange(len(held))
    assert torch.equal(torch.cat([streamed.batch(rows).image for rows in whole.split(6)]), held.batch(whole).image)


def test_a_small_validation_split_is_read_once_and_kept(tiles: Version) -> None:
    (train, validation), (_, whole) = data(tiles, 1e6).sources(WINDOW), data(tiles).sources(0)
    read, rows = dict(validation._read), torch.arange(len(whole))
    assert len(read) == len(validation.edges) - 1
    assert not train._read
    assert torch.equal(torch.cat([validation.batch(part).image for part in rows.split(3)]), whole.batch(rows).image)
    assert validation._read == read
    assert not data(tiles, 100.0).sources(WINDOW)[1]._read, "as large as this it is streamed"


def run(tiles: Version, folder: Path, window: int, *, stop_at: int = 0) -> str:
    def log(step: int, figures: dict[str, float]) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    method = training(tiles).start(CANVAS)
    sources = data(tiles).streams(window) if window else data(tiles).sources(0)
    return fit(method, "stage1", *sources, TRAIN, folder, seed=4, log=log, progress=False).weights


def test_streamed_training_resumes_exactly_and_a_whole_window_trains_like_memory(tiles: Version, tmp_path) -> None:
    straight = run(tiles, tmp_path / "straight", WINDOW)
    with pytest.raises(KeyboardInterrupt):
        run(tiles, tmp_path / "broken", WINDOW, stop_at=10)
    with pytest.raises(ValueError, match="differs in window"):
        run(tiles, tmp_path / "broken", WINDOW + 4)
    assert run(tiles, tmp_path / "broken", WINDOW) == straight
    assert run(tiles, tmp_path / "memory", 0) == run(tiles, tmp_path / "whole", 99) != straight


def test_a_stage_streams_what_exceeds_its_memory_and_keeps_its_window(tiles: Version, tmp_path) -> None:
    def stop(step: int, figures: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    tight, wide = Processes(memory=6e-5), Processes(memory=1.0)
    store, states = Store(tmp_path / "stores"), tmp_path / "stores"
    with pytest.raises(KeyboardInterrupt):
        train_stage("stage1", None, training(tiles, tight, stop), store)
    (state,) = (path.parent for path in states.rglob("training_state.safetensors"))
    assert 0 < read_fingerprint(state)["window"] < 30
    resumed = train_stage("stage1", None, training(tiles, wide), store)
    straight = train_stage("stage1", None, training(tiles, tight), Store(tmp_path / "other"))
    assert resumed.data_version == straight.data_version
    memory = train_stage("stage1", None, training(tiles, wide), Store(tmp_path / "memory"))
    assert memory.data_version != straight.data_version


def test_the_window_follows_the_memory(tiles: Version, caplog: pytest.LogCaptureFixture) -> None:
    row, count = data(tiles).streams(0)[0].bytes_per_row, len(stream(tiles, 0))
    windows = [data(tiles, memory).window() for memory in (1, 50_000, 60_000, 1e6)]
    assert windows == [*sorted(windows[:3]), 0]
    assert windows[0] == 1
    assert "training will exceed its memory: expected at least" in caplog.messages[0]
    assert 2 * windows[2] * row <= 60_000
    assert row == 4 * SIZE[0] * SIZE[1]
    assert windows[2] < count
    assert 1e8 < machine_memory() < 1e14


def test_abnormal_images_are_refused(tmp_path: Path) -> None:
    tiles = draw(tmp_path)
    index = pd.read_parquet(tiles.path / "index.parquet")
    index.assign(label=1).to_parquet(tiles.path / "index.parquet")
    with pytest.raises(DatasetUnusable, match="abnormal"):
        data(tiles).sources(0)
    with pytest.raises(DatasetUnusable, match="no tile on canvas"):
        TrainingData(tiles=tiles, proxies=tiles, canvas="none", size=SIZE, memory=1.0).window()
