"""Tiles of a small form: rows, quarantine, versions and checks."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import zarr

from pipeline.data.decode import decode_image
from pipeline.data.raw import RawFolder
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TileTransform
from pipeline.store.shards import open_array, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles import cutting as cutting_module
from pipeline.tiles.checks import tile_coverage, tile_sheet, tile_values
from pipeline.tiles.loading import read_index
from pipeline.tiles.tiles import TilesConfig, build_tiles
from tests.unit.drawn_tiles import NEUTRAL, Corners, Eyes, build, list_images, make_inputs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Version, Version]:
    root = tmp_path_factory.mktemp("lane")
    images = make_inputs(root)
    return root, images, build(root, images, Corners())


def test_rows_hold_the_tiles_in_manifest_and_slot_order(lane: tuple[Path, Version, Version]) -> None:
    root, _, tiles = lane
    index = read_index(tiles)
    kept = [f"id{number:02d}" for number in range(21) if number not in (3, 20)]
    assert index["image_id"].tolist() == [name for name in kept for _ in range(3)]
    assert index["slot"].tolist() == ["field/00", "field/01", "whole"] * 19
    assert index["tile"].tolist() == list(range(57))
    assert index["offset_col"].tolist() == [0.0, -1.0, 0.0] * 19
    pixels, validity = open_array(tiles.path, "pixels"), open_array(tiles.path, "validity")
    lesions = open_array(tiles.path, "lesions")
    assert (pixels.shape, validity.shape, lesions.shape) == ((57, 1, 256, 256), (57, 256, 256), (57, 2, 256, 256))
    assert (pixels.chunks, pixels.shards) == ((1, 1, 256, 256), (4, 1, 256, 256))
    raw = RawFolder(root / "raw")
    for row in (0, 10, 28, 56):
        path = f"{index['image_id'][row][2:]}.png"
        image = decode_image(raw.read(path))
        masks = {name: np.zeros(image.shape, bool) for name in ("MA", "HE")}
        if index["label"][row]:
            masks["HE"] = image > 128
        slot = ("field/00", "field/01", "whole").index(index["slot"][row])
        expected = Corners().cut(image, masks)[slot]
        seen = expected.validity != NO_DATA
        np.testing.assert_array_equal(np.asarray(validity[row]), expected.validity)
        np.testing.assert_array_equal(np.asarray(pixels[row])[0][seen], expected.pixels[0][seen])
        assert (np.asarray(pixels[row])[0][~seen] == NEUTRAL).all()
        np.testing.assert_array_equal(np.asarray(lesions[row]), expected.lesions)
        assert TileTransform.from_json(index["transform"][row]) == expected.transform
        assert index["scored_fraction"][row] == (expected.validity == SCORED).mean()


def test_refused_images_are_quarantined_by_name(lane: tuple[Path, Version, Version]) -> None:
    _, _, tiles = lane
    quarantine = pd.read_parquet(tiles.path / "quarantine.parquet")
    assert quarantine.to_dict("records") == [
        {"path": "03.png", "reason": "white corner"},
        {"path": "20.png", "reason": "white corner"},
    ]
    assert tiles.meta == {"tiles": 57, "images": 19, "quarantined": 2, "form": "corners", "form_version": 1}
    assert dict(zarr.open_group(tiles.path, mode="r").attrs)["neutral"] == NEUTRAL


def test_unreadable_images_and_masks_are_quarantined(tmp_path: Path) -> None:
    make_inputs(tmp_path, 6, ())
    (tmp_path / "raw" / "02.png").write_bytes(b"\x89PNG broken")
    cv2.imwrite(str(tmp_path / "raw" / "03_HE.png"), np.zeros((9, 9), np.uint8))
    images = list_images(tmp_path)
    (tmp_path / "raw" / "04.png").unlink()
    tiles = build(tmp_path, images, Corners())
    assert pd.read_parquet(tiles.path / "quarantine.parquet")["path"].tolist() == ["02.png", "03.png", "04.png"]
    assert read_index(tiles)["image_id"].nunique() == 3
    assert tile_coverage(tiles, images)[0]


def test_threads_and_batches_do_not_change_the_data_version(
    lane: tuple[Path, Version, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, images, tiles = lane
    monkeypatch.setattr(cutting_module, "BATCH", 5)
    raw = RawFolder(root / "raw")
    again = build_tiles(
        images,
        raw,
        Eyes(),  # type: ignore[arg-type]
        Corners(),
        TilesConfig(form="corners", shard=16, level=3),
        Store(tmp_path),
        code_version="2",
        workers=1,
    )
    assert again.data_version == tiles.data_version


def test_another_pixel_gives_another_data_version(lane: tuple[Path, Version, Version], tmp_path: Path) -> None:
    make_inputs(tmp_path)
    path = str(tmp_path / "raw" / "00.png")
    image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    image[0, 0] ^= 1
    cv2.imwrite(path, image)
    assert build(tmp_path, list_images(tmp_path), Corners()).data_version != lane[2].data_version


def test_a_dataset_the_form_refuses_whole_fails_with_reasons(tmp_path: Path) -> None:
    images = make_inputs(tmp_path, 3, (0, 1, 2))
    with pytest.raises(DatasetUnusable, match=r"none of 3 images \(00\.png: white corner"):
        build(tmp_path, images, Corners())


def test_wrong_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 0"):
        TilesConfig(form="corners", shard=0)
    with pytest.raises(ConfigError, match="got 23"):
        TilesConfig(form="corners", level=23)


@pytest.mark.parametrize("file", ["01.png", "01_HE.png"])
def test_a_file_that_changed_after_the_manifest_is_no_quiet_matter(tmp_path: Path, file: str) -> None:
    images = make_inputs(tmp_path, 3, ())
    path = tmp_path / "raw" / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DatasetUnusable, match=r"01.png or a mask of it .* has changed since the manifest"):
        build(tmp_path, images, Corners())


def test_checks_pass_on_a_good_store_and_fail_on_damaged_ones(
    lane: tuple[Path, Version, Version], tmp_path: Path
) -> None:
    _, images, tiles = lane
    passed, figures = tile_coverage(tiles, images)
    assert passed
    assert (figures["images"], figures["slots"], figures["tiles"], figures["quarantined"]) == (19, 3, 57, 2)
    assert tile_values(tiles)[0]
    copy = build(tmp_path, make_inputs(tmp_path), Corners())
    read_index(copy).iloc[:-1].to_parquet(copy.path / "index.parquet")
    pd.read_parquet(copy.path / "quarantine.parquet").iloc[1:].to_parquet(copy.path / "quarantine.parquet")
    validity = open_array(copy.path, "validity", "r+")
    block = np.asarray(validity[0:4])
    block[0, 0, 0], block[1] = 9, SEEN
    block[2, 0, 0] = NO_DATA
    write_rows(validity, 0, block)
    passed, figures = tile_values(copy)
    assert not passed
    assert figures["unknown_validity_codes"] == 1
    assert figures["tiles_without_scored_pixels"] == 1
    assert figures["painted_no_data_pixels"] == 1
    index = read_index(copy)
    index.loc[0, "slot"] = "whole"
    index.to_parquet(copy.path / "index.parquet")
    passed, figures = tile_coverage(copy, images)
    assert not passed
    assert not figures["rows_aligned"]
    assert (figures["images_with_other_slots"], figures["images_lost"]) == (2, 1)


def test_the_contact_sheet_is_a_picture_that_repeats(lane: tuple[Path, Version, Version]) -> None:
    sheet = tile_sheet(lane[2], count=5, seed=1)
    assert sheet == tile_sheet(lane[2], count=5, seed=1) != tile_sheet(lane[2], count=5, seed=2)
    picture = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (3 * (96 + 4 + 16), 5 * 96, 3)
