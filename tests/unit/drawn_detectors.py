"""Drawn tiles of one canvas, and every registered detector on them; a new one is tested by existing."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from models.checkpoint import save_method
from models.methods import METHODS, build
from models.scoring import ScoreConfig
from models.synthetic_anomalies import LesionConfig
from pipeline.data.datasets import DATASETS
from pipeline.detectors.contract import CanvasDetector
from pipeline.detectors.controls.pixel_classifier import ClassifierConfig, FeatureConfig
from pipeline.detectors.controls.registry import CONTROLS, Control
from pipeline.detectors.frozen.freeze import DetectorPlan, Trained, freeze_detector
from pipeline.detectors.network import NetworkDetector
from pipeline.detectors.standardise import OWN
from pipeline.forms import FORMS
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.versions import Store, Version
from pipeline.tiles.loading import TileSet, tiles_of
from tests.contract.tiny_methods import tiny

FORM, CANVAS, SIZE = "plain", "image", (32, 32)
SPLITS = ["train"] * 8 + ["val"] * 5 + ["test"] * 4
FIRST_TEST = SPLITS.index("test")
TEST = range(FIRST_TEST, len(SPLITS))
SCORE = ScoreConfig(signed=True, sigma=1.0, worst=0.05)
CLASSIFIER = ClassifierConfig(
    features=FeatureConfig(scales=(0.7, 1.5, 3.0), curvatures=(1.0,), neighbours=2, line_blob=True),
    lesions=LesionConfig(radius=(0.08, 0.2), kinds=("blob",)),
    copies=1,
    pixels=60,
)
OPTIONS = {"pca": {"components": 3, "mirrored": True}, "median": {"window": 9}, "canonical": {"neutral": 128}}
OPTIONS |= {"line_blob": {"neutral": 128}, "pixel_classifier": {"config": CLASSIFIER}}
SCORES = {"line_blob": replace(SCORE, lines=(5, 9)), "patch_neighbour": replace(SCORE, similar=2, mirrored=False)}
SCORES |= {"segmentation": replace(SCORE, signed=False, sigma=0.0), "denoising fine": replace(SCORE, fine=True)}
SCORES["denoising beside"] = ScoreConfig(sigma=1.0, beside=2, own_mirror=True)
NAMES = [*CONTROLS, *METHODS, "denoising beside", "denoising fine"]
"""Every registered control and method, and networks with the scores that keep more or see more than a residual."""
FROZEN = [name for name, kind in CONTROLS.items() if not kind.needs_proxies]
FROZEN += [name for name, kind in METHODS.items() if not kind.needs_proxy]
"""Those that a new image needs no true proxy for: what can be frozen."""


@dataclass(frozen=True)
class Drawn:
    """Stored noisy discs and their proxies."""

    tiles: Version
    proxies: Version

    def shown(self, *numbers: int) -> TileSet:
        return tiles_of(self.tiles, self.proxies, canvas=CANVAS, image_ids=[f"i{n}" for n in numbers])


def draw(folder: Path, tests: str = "drawn") -> Drawn:
    """The images; those of the test split as ``drawn``, ``inverted`` or ``absent``."""
    rng, count = np.random.default_rng(3), len(SPLITS)
    rows, cols = np.mgrid[-1 : 1 : TILE * 1j, -1 : 1 : TILE * 1j]
    disc = 120 - 60 * (np.hypot(rows, cols) < 0.5)
    pixels = np.clip(disc + rng.normal(0, 12, (count, 1, TILE, TILE)) + rng.normal(0, 9, (count, 1, 1, 1)), 0, 255)
    if tests == "inverted":
        pixels[FIRST_TEST:] = 255 - pixels[FIRST_TEST:]
    count = FIRST_TEST if tests == "absent" else count
    pixels = pixels[:count].astype(np.uint8)
    validity = np.full((count, TILE, TILE), SCORED, np.uint8)
    validity[:, :24] = NO_DATA
    coarse = pixels.reshape(count, 1, 16, 16, 16, 16).mean(axis=(3, 5)).astype(np.uint8)
    index = pd.DataFrame({"tile": range(count), "image_id": [f"i{n}" for n in range(count)], "split": SPLITS[:count]})
    index = index.assign(label=0, klass="normal", group=index["image_id"], canvas=CANVAS, canvas_row=0, canvas_col=0)
    tiles = _stored(folder / "tiles", {"pixels": pixels, "validity": validity})
    index.assign(offset_row=0.0, offset_col=0.0).to_parquet(tiles.path / "index.parquet")
    return Drawn(tiles, _stored(folder / "proxies", {"pixels": coarse.repeat(16, 2).repeat(16, 3)}))


def _stored(folder: Path, arrays: dict[str, NDArray[np.uint8]]) -> Version:
    group = zarr.open_group(folder, mode="w", attributes={"neutral": 0})
    for name, values in arrays.items():
        create(group, name, values.shape, shard=8, level=1)
        write_rows(open_array(folder, name, "r+"), 0, values)
    return Version(asset=f"x/{folder.name}", path=folder, data_version="a" * 16, meta={})


def fit(name: str, drawn: Drawn, folder: Path) -> CanvasDetector:
    """A detector fitted to the training images; networks keep the weights they are drawn with."""
    if name in CONTROLS:
        return control(name).fit(drawn.tiles, drawn.proxies)
    stage = networks(folder, name.split()[0])
    score = SCORES.get(name, SCORE)
    return NetworkDetector.trained(stage, drawn.tiles, CANVAS, score, flip_average=True, member=name.split()[0])


def control(name: str) -> Control:
    return Control(name=name, canvas=CANVAS, size=SIZE, score=SCORES.get(name, SCORE), options=OPTIONS.get(name, {}))


def networks(folder: Path, *names: str) -> Version:
    """Untrained networks, one folder each."""
    for name in names:
        network = build(name, tiny(name), seed=0)
        save_method(network, folder / name / CANVAS, stage=network.stages[-1].name, extra={"size": list(SIZE)})
    meta = {"members": dict.fromkeys(names, ""), "seed": 0}
    return Version(asset="x/networks", path=folder, data_version="b" * 16, meta=meta)


def freeze(drawn: Drawn, folder: Path, names: list[str]) -> Version:
    """A committee of the named detectors, frozen; the first network is the lane's own method."""
    own, *others = [name for name in names if name in METHODS]
    plan = DetectorPlan(
        method=own,
        scores={CANVAS: SCORE},
        flip_average=True,
        controls=tuple(control(name) for name in names if name in CONTROLS),
        member_scores={name: SCORES[name] for name in others if name in SCORES},
        committee={OWN if name == own else name: 1 + at / 4 for at, name in enumerate(names)},
    )
    stage = networks(folder / "stage", own)
    stage = Version(asset="x/stage2", path=stage.path / own, data_version="c" * 16, meta=stage.meta)
    trained = Trained(tiles=drawn.tiles, stage=stage, members=networks(folder / "members", *others))
    store, dataset = Store(folder / "store"), DATASETS["oct"]
    version = freeze_detector(dataset, plan, trained, store, form=FORM, preset="sample", code_version="1")
    store.point(version)
    return version


def drawn_image(seed: int, height: int = 80, width: int = 96) -> NDArray[np.uint8]:
    """An image of any size for the form."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(110, 20, (height, width)), 0, 255).astype(np.uint8)


def odd_tiles(drawn: Drawn) -> TileSet:
    """Tiles of a black, a white, a tiny and a huge image, the last one next to nowhere imaged."""
    held = drawn.shown(*TEST)
    shapes = np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8), drawn_image(1, 16, 17)
    for row, pixels in enumerate([*shapes, drawn_image(2, 3000, 4100)]):
        (tile,) = FORMS[FORM].cut(pixels, {})
        held.pixels[row] = tile.pixels
        if row < 3:
            held.validity[row] = tile.validity
    held.validity[3, 40:] = NO_DATA
    return held
