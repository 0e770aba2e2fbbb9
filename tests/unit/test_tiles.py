import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.typing import NDArray

from pipeline.data.raw import RawFolder, read_image
from pipeline.errors import ConfigError, DatasetUnusable, UnusableImage
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE, SlotTile, TileTransform, slots
from pipeline.store import increments as increments_module
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles import cutting as cutting_module
from pipeline.tiles.checks import tile_coverage, tile_values
from pipeline.tiles.contact_sheet import tile_sheet
from pipeline.tiles.loading import read_index
from pipeline.tiles.tiles import TilesConfig, build_tiles

pytestmark = pytest.mark.slow

NEUTRAL = 7
CONFIG = TilesConfig(form="corners", shard=4)


@dataclass(frozen=True)
class Eyes:
    """Stands for a row of DATASETS."""

    name: str = "eyes"
    lesions: tuple[str, ...] = ("MA", "HE")


class Corners:
    """A form of one 1x2 canvas and one single tile; refuses images whose corner is white."""

    name = "corners"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"field": (1, 2), "whole": (1, 1)}
    neutral = NEUTRAL

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        if image[0, 0] == 255:
            raise UnusableImage("white corner")
        height, width = image.shape[:2]
        tile = np.zeros((TILE, TILE), np.uint8)
        tile[:height, :width] = image
        validity = np.full((TILE, TILE), NO_DATA, np.uint8)
        validity[:height, :width] = SEEN
        validity[: height // 2, :width] = SCORED
        lesions = np.zeros((len(masks), TILE, TILE), bool)
        for number, mask in enumerate(masks.values()):
            lesions[number, :height, :width] = mask
        transform = TileTransform(height=height, width=width, x0=0, dx=1, y0=0, dy=1)
        return tuple(
            SlotTile(
                slot=slot.name,
                pixels=np.roll(tile, slot.col, axis=1)[None],
                validity=validity,
                lesions=lesions,
                transform=transform,
                offset=(1.5, -slot.col),
            )
            for slot in slots(self.canvases)
        )


def make_inputs(root: Path, count: int = 21, refused: tuple[int, ...] = (3, 20)) -> Version:
    """Raw PNGs below root/raw and their manifest; images in ``refused`` are refused by the form."""
    folder = root / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    for number in range(count):
        image = generator.integers(1, 255, (40 + number, 60), dtype=np.uint8)
        image[number % 9] = 200
        if number in refused:
            image[0, 0] = 255
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
        if number % 2:
            cv2.imwrite(str(folder / f"{number:02d}_HE.png"), (image > 128).astype(np.uint8) * 255)
    return list_images(root)


def list_images(root: Path) -> Version:
    """The manifest of the files below root/raw."""
    rows = []
    for file in sorted((root / "raw").glob("??.png")):
        number, mask = int(file.stem), file.with_name(f"{file.stem}_HE.png")
        row = {"image_id": f"id{file.stem}", "path": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        row |= {"label": number % 2, "klass": "x", "group": f"g{number}", "split": "train"}
        row |= {"masks": json.dumps({"HE": mask.name} if mask.is_file() else {}), "masks_sha256": ""}
        if mask.is_file():
            digest = hashlib.sha256(mask.read_bytes()).digest()
            row["masks_sha256"] = hashlib.sha256(digest).hexdigest()
        rows.append(row)
    path = root / "images"
    path.mkdir(exist_ok=True)
    pd.DataFrame(rows).astype({"label": "int8"}).to_parquet(path / "images.parquet")
    return Version(asset="eyes/images", path=path, data_version="c" * 16, meta={})


def build(root: Path, images: Version, form: Corners, store: str = "store", workers: int = 2) -> Version:
    raw = RawFolder(root / "raw")
    config, home = CONFIG, Store(root / store)
    return build_tiles(images, raw, Eyes(), form, config, home, code_version="1", workers=workers)  # type: ignore[arg-type]


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
        image = read_image(raw, path)
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


def test_an_equal_build_is_not_done_twice(lane: tuple[Path, Version, Version]) -> None:
    root, images, tiles = lane

    class Untouchable(Corners):
        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            raise AssertionError("cut again")

    assert build(root, images, Untouchable()) == tiles
    assert not any((root / "store" / "work" / "eyes" / "tiles").iterdir())


def test_an_error_while_cutting_is_resumed(lane: tuple[Path, Version, Version], tmp_path: Path) -> None:
    root, images, tiles = lane
    cuts = []

    class Failing(Corners):
        limit = 10

        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            cuts.append(image.shape)
            if len(cuts) == self.limit:
                raise RuntimeError("power lost")
            return super().cut(image, masks)

    with pytest.raises(RuntimeError, match="power lost"):
        build(root, images, Failing(), str(tmp_path), workers=1)
    cuts.clear()
    Failing.limit = 999
    assert build(root, images, Failing(), str(tmp_path), workers=1).data_version == tiles.data_version
    assert len(cuts) == 21 - cutting_module.BATCH


def test_an_error_while_storing_is_resumed(
    lane: tuple[Path, Version, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, images, tiles = lane
    calls = []
    whole = cutting_module._unpack

    def failing(part: Path) -> dict[str, NDArray[np.uint8]]:
        calls.append(part)
        if len(calls) == 9:
            raise RuntimeError("power lost")
        return whole(part)

    monkeypatch.setattr(cutting_module, "_unpack", failing)
    with pytest.raises(RuntimeError, match="power lost"):
        build(root, images, Corners(), str(tmp_path), workers=1)
    assert build(root, images, Corners(), str(tmp_path), workers=1).data_version == tiles.data_version


@pytest.mark.parametrize("moment", ["cut", "store"])
def test_sigkill_and_rerun_give_the_same_data_version(
    lane: tuple[Path, Version, Version], tmp_path: Path, moment: str
) -> None:
    """A real SIGKILL of a subprocess in the middle of either pass."""
    _, _, tiles = lane
    images = make_inputs(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(tmp_path), moment]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    (work,) = (tmp_path / "store" / "work" / "eyes" / "tiles").iterdir()
    assert len(list((work / "parts").glob("*.part"))) == (1 if moment == "cut" else 3)
    assert len(list((work / "shards").glob("*.json"))) == (0 if moment == "cut" else 5)
    rerun = build(tmp_path, images, Corners())
    assert rerun.data_version == tiles.data_version
    assert not work.exists()
    Store(tmp_path / "store").verify(rerun)


def test_a_recorded_shard_that_was_damaged_is_written_again(
    lane: tuple[Path, Version, Version], tmp_path: Path
) -> None:
    images = make_inputs(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, __file__, str(tmp_path), "store"], env=environment, check=False)
    (work,) = (tmp_path / "store" / "work" / "eyes" / "tiles").iterdir()
    open_array(work / "content", "pixels", "r+")[0:4] = 0
    assert build(tmp_path, images, Corners()).data_version == lane[2].data_version


@pytest.mark.parametrize(("start", "count"), [(0, 2), (2, 2), (2, 4), (0, 6), (8, 1), (8, 3), (4, 0)])
def test_parts_of_a_shard_are_never_written(tmp_path: Path, start: int, count: int) -> None:
    group = zarr.open_group(tmp_path, mode="w")
    create(group, "pixels", (10, 1, 8, 8), shard=4, level=1)
    array = open_array(tmp_path, "pixels", "r+")
    with pytest.raises(ValueError, match="whole shards of 4"):
        write_rows(array, start, np.ones((count, 1, 8, 8), np.uint8))
    assert not np.asarray(array[:]).any()
    for good, size in [(0, 4), (4, 6), (8, 2), (0, 10)]:
        write_rows(array, good, np.ones((size, 1, 8, 8), np.uint8))
    assert np.asarray(array[:]).all()


def test_a_dataset_the_form_refuses_whole_fails_with_reasons(tmp_path: Path) -> None:
    images = make_inputs(tmp_path, 3, (0, 1, 2))
    with pytest.raises(DatasetUnusable, match=r"none of 3 images \(00\.png: white corner"):
        build(tmp_path, images, Corners())


def test_wrong_forms_and_configurations_are_refused(tmp_path: Path) -> None:
    images = make_inputs(tmp_path, 2, ())

    class Lazy(Corners):
        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            return super().cut(image, masks)[:2]

    with pytest.raises(ValueError, match="expected slots"):
        build(tmp_path, images, Lazy())
    other = Corners()
    other.name = "other"
    with pytest.raises(ConfigError, match="as configured"):
        build(tmp_path, images, other)
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


def test_an_image_twice_in_the_manifest_is_refused(tmp_path: Path) -> None:
    images = make_inputs(tmp_path, 2, ())
    table = pd.read_parquet(images.path / "images.parquet")
    pd.concat([table, table[:1]]).to_parquet(images.path / "images.parquet")
    with pytest.raises(ValueError, match="expected each image once"):
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


def be_killed(root: Path, moment: str) -> None:
    """Child of the kill tests: build with one thread and send SIGKILL to itself in the middle."""
    images = Version(asset="eyes/images", path=root / "images", data_version="c" * 16, meta={})
    count = 0

    class Deadly(Corners):
        def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
            nonlocal count
            count += 1
            if moment == "cut" and count == 12:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().cut(image, masks)

    fill = increments_module._fill

    def deadly(*args: object, **settings: object) -> list[str]:
        nonlocal count
        count += 1
        if moment == "store" and count == 21 + 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return fill(*args, **settings)  # type: ignore[arg-type]

    increments_module._fill = deadly
    build(root, images, Deadly(), workers=1)


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]), sys.argv[2])
