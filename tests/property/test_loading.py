from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Version
from pipeline.tiles.loading import canvases, load_tiles, read_rows, shrink

NEUTRAL = 11
SPLITS = ("train", "val", "test")


def make_index(images: int, grids: dict[str, tuple[int, int]]) -> pd.DataFrame:
    rows = []
    for number in range(images):
        for canvas, (height, width) in grids.items():
            for row in range(height):
                for col in range(width):
                    entry = {"tile": len(rows), "image_id": f"i{number}", "slot": f"{canvas}/{row}{col}"}
                    entry |= {"canvas": canvas, "canvas_row": row, "canvas_col": col, "split": SPLITS[number % 3]}
                    entry |= {"label": number % 2, "klass": "x", "group": f"g{number}"}
                    rows.append(entry | {"offset_row": float(number), "offset_col": 0.5})
    return pd.DataFrame(rows)


def make_store(path: Path, asset: str, arrays: dict[str, NDArray[np.uint8]], index: pd.DataFrame | None) -> Version:
    group = zarr.open_group(path, mode="w", attributes={"neutral": NEUTRAL})
    for name, block in arrays.items():
        create(group, name, block.shape, shard=4, level=1)
        write_rows(open_array(path, name, "r+"), 0, block)
    if index is not None:
        index.to_parquet(path / "index.parquet")
    return Version(asset=asset, path=path, data_version="c" * 16, meta={})


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version, dict[str, NDArray[np.uint8]]]:
    root = tmp_path_factory.mktemp("lane")
    generator = np.random.default_rng(0)
    index = make_index(5, {"field": (1, 2), "whole": (1, 1)})
    arrays = {"pixels": generator.integers(0, 256, (15, 2, TILE, TILE), dtype=np.uint8)}
    arrays["validity"] = np.kron(generator.integers(0, 3, (15, 8, 8), dtype=np.uint8), np.ones((1, 32, 32), np.uint8))
    arrays["lesions"] = generator.integers(0, 2, (15, 1, TILE, TILE), dtype=np.uint8)
    proxies = {"pixels": generator.integers(0, 256, (15, 2, TILE, TILE), dtype=np.uint8)}
    tiles = make_store(root / "tiles", "eyes/tiles", arrays, index)
    return tiles, make_store(root / "proxies", "eyes/proxies", proxies, None), {**arrays, "proxies": proxies["pixels"]}


@pytest.mark.slow
@given(
    splits=st.sets(st.sampled_from(SPLITS), min_size=1),
    canvas=st.sampled_from([None, "field", "whole"]),
    size=st.sampled_from([(TILE, TILE), (64, 64), (40, 64), (1, 1), (32, 128)]),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_stay_aligned_and_values_are_weighted_means(
    lane: tuple[Version, Version, dict[str, NDArray[np.uint8]]],
    splits: set[str],
    canvas: str | None,
    size: tuple[int, int],
) -> None:
    tiles, proxies, arrays = lane
    loaded = load_tiles(tiles, proxies, splits=splits, canvas=canvas, size=size)
    assert loaded.proxies is not None
    index = loaded.index
    assert set(index["split"]) == splits
    assert canvas is None or set(index["canvas"]) == {canvas}
    assert index["tile"].is_monotonic_increasing
    assert loaded.pixels.shape == loaded.proxies.shape == (len(index), 2, *size)
    for row in (0, len(index) - 1):
        source = int(index["tile"][row])
        codes, *values = direct(arrays["validity"][source], [arrays["pixels"][source], arrays["proxies"][source]], size)
        np.testing.assert_array_equal(loaded.validity[row], codes)
        for got, expected in zip([loaded.pixels[row], loaded.proxies[row]], values, strict=True):
            assert np.abs(got.astype(int) - expected).max() <= 0.5 + 1e-3
            assert (got[:, codes == NO_DATA] == NEUTRAL).all()


def direct(
    validity: NDArray[np.uint8], values: list[NDArray[np.uint8]], size: tuple[int, int]
) -> list[NDArray[np.float64]]:
    """Area means in float64 by products with overlap matrices."""
    left, right = overlaps(size[0]), overlaps(size[1]).T
    seen = left @ (validity != NO_DATA).astype(float) @ right
    scored = left @ (validity == SCORED).astype(float) @ right
    codes = np.where(scored >= 0.5 - 1e-6, SCORED, np.where(seen >= 0.5 - 1e-6, SEEN, NO_DATA))
    out: list[NDArray[np.float64]] = [codes]
    for value in values:
        mean = (left @ (value * (validity != NO_DATA)).astype(float) @ right) / np.maximum(seen, 1e-9)
        out.append(np.where(codes == NO_DATA, NEUTRAL, mean))
    return out


def overlaps(size: int) -> NDArray[np.float64]:
    """(size, TILE): share of each output cell that each input pixel covers."""
    edges = np.linspace(0, TILE, size + 1)
    low = np.maximum(edges[:-1, None], np.arange(TILE)[None])
    high = np.minimum(edges[1:, None], np.arange(1, TILE + 1)[None])
    return np.maximum(high - low, 0) * size / TILE


@given(values=st.integers(0, 255), size=st.tuples(st.integers(1, TILE), st.integers(1, TILE)), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_flat_tile_stays_flat_whatever_lies_under_no_data(values: int, size: tuple[int, int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    validity = generator.integers(0, 3, (1, TILE, TILE), dtype=np.uint8)
    pixels = np.full((1, 1, TILE, TILE), values, np.uint8)
    pixels[0, 0][validity[0] == NO_DATA] = generator.integers(0, 256)
    codes, small = shrink(validity, [pixels], size, NEUTRAL)
    assert (small[0, 0][codes[0] != NO_DATA] == values).all()
    assert (small[0, 0][codes[0] == NO_DATA] == NEUTRAL).all()


@given(
    images=st.integers(1, 4),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    inner=st.sampled_from([(), (2,), (2, 3)]),
    side=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_stitching_is_the_inverse_of_cutting(
    images: int, grid: tuple[int, int], inner: tuple[int, ...], side: tuple[int, int], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    index = make_index(images, {"other": (1, 1), "field": grid})
    whole = generator.random((images, *inner, grid[0] * side[0], grid[1] * side[1]))
    values = np.zeros((len(index), *inner, *side))
    for row, entry in index[index["canvas"] == "field"].iterrows():
        top, left = entry["canvas_row"] * side[0], entry["canvas_col"] * side[1]
        values[row] = whole[int(entry["image_id"][1:]), ..., top : top + side[0], left : left + side[1]]
    order = generator.permutation(len(index))
    table, stitched = canvases(values[order], index.iloc[order], "field")
    numbers = table["image_id"].str[1:].astype(int).to_numpy()
    np.testing.assert_array_equal(stitched, whole[numbers])
    assert sorted(numbers) == list(range(images))
    assert table["label"].tolist() == [number % 2 for number in numbers]
    assert table["offset_row"].tolist() == [float(number) for number in numbers]
    assert list(table) == ["image_id", "split", "label", "klass", "group", "offset_row", "offset_col"]


def test_incomplete_grids_and_misaligned_values_are_refused() -> None:
    index = make_index(2, {"field": (2, 2)})
    values = np.zeros((8, 3, 3))
    with pytest.raises(ValueError, match=r"places once an image, got otherwise for \['i1'\]"):
        canvases(values[:-1], index[:-1], "field")
    with pytest.raises(ValueError, match="one value per row"):
        canvases(values[:-1], index, "field")
    with pytest.raises(ValueError, match="no tile of this canvas"):
        canvases(values, index, "wide")


def test_lesions_are_read_by_row(lane: tuple[Version, Version, dict[str, NDArray[np.uint8]]]) -> None:
    tiles, _, arrays = lane
    rows = np.array([0, 3, 4, 13, 14])
    np.testing.assert_array_equal(read_rows(tiles, "lesions", rows), arrays["lesions"][rows])


def test_requests_that_cannot_be_met_are_refused(
    lane: tuple[Version, Version, dict[str, NDArray[np.uint8]]], tmp_path: Path
) -> None:
    tiles, _, _ = lane
    other = make_store(tmp_path, "eyes/proxies", {"pixels": np.zeros((3, 2, TILE, TILE), np.uint8)}, None)
    with pytest.raises(ValueError, match="no tile of splits"):
        load_tiles(tiles, None, splits=["holdout"])
    with pytest.raises(ValueError, match="size"):
        load_tiles(tiles, None, splits=["train"], size=(512, 64))
    with pytest.raises(ValueError, match="equal numbers of rows"):
        load_tiles(tiles, other, splits=["train"])
