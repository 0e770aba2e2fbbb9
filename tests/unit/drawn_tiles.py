"""Small raw folders, a form and tiles for the tests of tiles and proxies."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.raw import RawFolder
from pipeline.errors import UnusableImage
from pipeline.forms.form import NO_DATA, SCORED, SEEN, TILE, SlotTile, TileTransform, slots
from pipeline.store.versions import Store, Version
from pipeline.tiles.tiles import TilesConfig, build_tiles

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
    channels = 1
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


def blobs(generator: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    """Smooth random pictures (…, 256, 256) with some noise."""
    coarse = generator.integers(20, 235, (*shape, 8, 8)).astype(np.uint8).reshape(-1, 8, 8)
    fine = np.stack([cv2.resize(plane, (TILE, TILE), interpolation=cv2.INTER_CUBIC) for plane in coarse])
    noise = generator.integers(0, 12, fine.shape, dtype=np.uint8)
    return (fine // 2 + noise + 60).astype(np.uint8).reshape(*shape, TILE, TILE)
