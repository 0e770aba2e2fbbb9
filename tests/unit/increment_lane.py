"""A small lane whose builds of tiles and proxies count what they make."""

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.data.raw import RawFolder
from pipeline.errors import UnusableImage
from pipeline.forms.form import SCORED, TILE, SlotTile, TileTransform, slots
from pipeline.store.shards import open_array
from pipeline.store.versions import Store, Version, fingerprint
from pipeline.tiles import proxies as proxies_module
from pipeline.tiles.proxies import build_proxies
from pipeline.tiles.proxy_kinds import ProxyConfig
from pipeline.tiles.tiles import TilesConfig, build_tiles

COUNT = 9  # images, of two tiles each: 18 rows in shards of 4


PROXY = ProxyConfig(segments=20, iterations=1)


@dataclass(frozen=True)
class Eyes:
    """Stands for a row of DATASETS."""

    name: str = "eyes"
    lesions: tuple[str, ...] = ("MA", "HE")


class Counting:
    """A form of two single tiles that counts its cuts; refuses images whose corner is white."""

    name = "counting"
    version = 1
    canvases: Mapping[str, tuple[int, int]] = {"left": (1, 1), "right": (1, 1)}
    channels = 1
    neutral = 7

    def __init__(self) -> None:
        self.cuts = 0
        self.deadly = 0  # the cut that kills the process

    def cut(self, image: NDArray[np.uint8], masks: Mapping[str, NDArray[np.bool_]]) -> tuple[SlotTile, ...]:
        self.cuts += 1
        if self.cuts == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if image[0, 0] == 255:
            raise UnusableImage(f"white corner, mean {image.mean():.1f}")
        validity = np.zeros((TILE, TILE), np.uint8)
        validity[: image.shape[0], : image.shape[1]] = SCORED
        tiles = []
        for number, slot in enumerate(slots(self.canvases)):
            pixels = np.zeros((TILE, TILE), np.uint8)
            pixels[: image.shape[0], : image.shape[1]] = image[:, :: 1 - 2 * number]
            lesions = np.zeros((len(masks), TILE, TILE), bool)
            for row, mask in enumerate(masks.values()):
                lesions[row, : mask.shape[0], : mask.shape[1]] = mask
            where = TileTransform(height=image.shape[0], width=image.shape[1], x0=1 / 3, dx=1, y0=0, dy=1)
            tile = SlotTile(slot=slot.name, pixels=pixels[None], validity=validity, lesions=lesions, transform=where)
            tiles.append(tile)
        return tuple(tiles)


@dataclass
class Lane:
    """A raw folder below ``root`` whose builds count what they make."""

    root: Path
    form: Counting = field(default_factory=Counting)
    code: str = "1"
    config: TilesConfig = field(default_factory=lambda: TilesConfig(form="counting", shard=4))
    splits: dict[str, str] = field(default_factory=dict)
    painted: list[int] = field(default_factory=list)

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    def draw(self, name: str, seed: int, *, refused: bool = False) -> None:
        image = np.random.default_rng(seed).integers(1, 255, (60, 48), dtype=np.uint8)
        if refused:
            image[0, 0] = 255
        self.raw.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(self.raw / f"{name}.png"), image)

    def mark(self, name: str, lesion: str, seed: int) -> None:
        """A lesion mask of an image."""
        mask = (np.random.default_rng(seed).random((60, 48)) > 0.8).astype(np.uint8) * 255
        cv2.imwrite(str(self.raw / f"{name}_{lesion}.png"), mask)

    def images(self) -> Version:
        """The manifest of what lies in the raw folder."""
        rows = []
        for file in sorted(self.raw.glob("*.png")):
            if "_" in file.stem:
                continue
            masks = {mask.stem.split("_")[1]: mask.name for mask in sorted(self.raw.glob(f"{file.stem}_*.png"))}
            marked = b"".join(hashlib.sha256((self.raw / mask).read_bytes()).digest() for mask in masks.values())
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            row = {"image_id": digest[:16], "path": file.name, "sha256": digest, "label": int(bool(masks))}
            row |= {"klass": "x" if masks else "normal", "group": f"g{file.stem}"}
            row |= {"split": self.splits.get(file.stem, "train"), "masks": json.dumps(masks)}
            row |= {"masks_sha256": hashlib.sha256(marked).hexdigest() if masks else ""}
            rows.append(row)
        version = fingerprint(rows)
        path = self.root / "images" / version
        path.mkdir(exist_ok=True, parents=True)
        pd.DataFrame(rows).astype({"label": "int8"}).to_parquet(path / "images.parquet")
        return Version(asset="eyes/images", path=path, data_version=version, meta={})

    def tiles(self, store: Store) -> Version:
        self.form.cuts = 0
        how = {"code_version": self.code, "workers": 2}
        raw = RawFolder(self.raw)
        return build_tiles(self.images(), raw, Eyes(), self.form, self.config, store, **how)  # type: ignore[arg-type]

    def proxies(self, tiles: Version, store: Store, config: ProxyConfig = PROXY) -> Version:
        self.painted.clear()
        return build_proxies(tiles, config, store, code_version=self.code, workers=2)

    def both(self, store: Store) -> tuple[Version, Version]:
        """Tiles and proxies, made the current ones."""
        tiles = self.tiles(store)
        store.point(tiles)
        proxies = self.proxies(tiles, store)
        store.point(proxies)
        return tiles, proxies


def content(version: Version) -> dict[str, bytes]:
    """Every file of a version, so all arrays, tables and the record, except the marker with its time."""
    files = [path for path in version.path.rglob("*") if path.is_file() and path.name != "COMPLETE.json"]
    return {path.relative_to(version.path).as_posix(): path.read_bytes() for path in files}


def check(lane: Lane, *, cuts: int, painted: int) -> tuple[Version, Version]:
    """An increment makes as many as said, and gives byte by byte what a full rebuild in a fresh store gives."""
    store = Store(lane.root / "store")
    tiles, proxies = lane.both(store)
    assert (lane.form.cuts, len(lane.painted)) == (cuts, painted)
    full = lane.both(Store(lane.root / "fresh"))
    rows = open_array(tiles.path, "pixels").shape[0]
    assert len(lane.painted) == rows
    for version, other in zip((tiles, proxies), full, strict=True):
        assert version.data_version == other.data_version
        assert version.meta == other.meta
        assert content(version) == content(other)
        store.verify(version)
    return tiles, proxies


def built_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    """Nine images, two with masks and one refused, already built into the folder ``store``."""
    lane = Lane(tmp_path)
    for number in range(COUNT):
        lane.draw(f"{number}0", number, refused=number == 4)
    lane.mark("20", "HE", 1)
    lane.mark("60", "MA", 2)
    whole = proxies_module.proxy_of

    def counting(*arguments: object) -> NDArray[np.uint8]:
        lane.painted.append(1)
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(proxies_module, "proxy_of", counting)
    lane.both(Store(tmp_path / "store"))
    assert lane.form.cuts == COUNT
    assert len(lane.painted) == 16
    return lane
