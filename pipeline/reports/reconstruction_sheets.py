"""Pictures of what the method does to images: one sheet per data set and canvas, rows chosen by rule."""

from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.scoring import ScoreConfig
from pipeline.detectors.network import NetworkDetector
from pipeline.evaluation.fidelity import BLOCK, image_rows, seen_image, true_proxy
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.score_name import ScoreName
from pipeline.evaluation.scoreboard import SCORED_SPLITS
from pipeline.store.versions import Store
from pipeline.tiles.loading import TileSet, load_tiles

SHOWN = 192  # px, side of a square tile in a picture
GAIN = 3.0  # of the residual
COLUMNS = ("image", "true proxy", "predicted proxy", "reconstruction", f"{GAIN:g} x residual")
LABEL = 150  # px, width of the row's name
ROWS = ("best normal", "median normal", "worst normal", "most conspicuous", "median abnormal", "least conspicuous")

Picture = NDArray[np.uint8]


def sheets(store: Store, dataset: str) -> Iterator[tuple[str, Picture]]:
    """Per canvas: best, median and worst reconstructed normal, then most, median and least conspicuous lesion.

    Normals are ordered by R² of the reconstruction, abnormal test images by the root mean square of I - Î.
    """
    lane = load_evaluation(store.current(f"{dataset}/evaluation").path)
    trained, tiles, proxies = (
        store.opened(f"{dataset}/{part}", lane.summary["versions"][f"{dataset}/{part}"])
        for part in ("stage2", "tiles", "proxies")
    )
    table = lane.scores.set_index("image_id")
    error = table[ScoreName.of(lane.summary["method"], "image").column]
    lesions = error[table["label"] == 1].sort_values()[::-1]
    for canvas in trained.meta["canvases"]:
        network = NetworkDetector.trained(trained, tiles, canvas, ScoreConfig())
        held = load_tiles(tiles, proxies, splits=SCORED_SPLITS, canvas=canvas, size=network.size)
        explained = pd.DataFrame(image_rows(network, held))
        normal = explained[explained["label"] == 0]
        normal = normal[normal["split"] == ("test" if (normal["split"] == "test").any() else "val")]
        repaired = normal.set_index("image_id")["reconstruction_r2"].dropna().sort_values()[::-1]
        names = [str(order.index[place]) for order in (repaired, lesions) for place in (0, len(order) // 2, -1)]
        figure = repaired.to_dict() | lesions.to_dict()
        yield canvas, _sheet(network, held, dict(zip(names, ROWS, strict=True)), figure)


def _sheet(network: NetworkDetector, held: TileSet, wanted: Mapping[str, str], figure: Mapping[Any, float]) -> Picture:
    """One row an image, one column an array; contrast as the network sees it, the residual's size times ``GAIN``."""
    rows: dict[str, Picture] = {}
    contrast = float(getattr(network.method.config, "contrast", 1.0))
    for block in held.blocks(BLOCK):
        if not set(block.index["image_id"]) & set(wanted):
            continue
        found, proxy = network.maps(block), true_proxy(block, network.canvas)
        image = seen_image(found)
        for row, name in enumerate(found.images.images["image_id"]):
            if name in wanted and proxy is not None:
                size = np.abs(image[row] - found.reconstruction[row]) * found.images.scored[row] * GAIN
                planes = (image[row], proxy[row], found.proxy[row], found.reconstruction[row])
                stretched = [0.5 + contrast * (plane - 0.5) for plane in planes]
                rows[name] = np.hstack([_plane(one) for one in (*stretched, contrast * size)])
    parts = []
    for name, words in wanted.items():
        side = np.full((rows[name].shape[0], LABEL), 255, np.uint8)
        _write(side, words, 4, 24)
        _write(side, f"{figure[name]:.2f}", 4, 44)
        parts.append(np.hstack([side, rows[name]]))
    head = np.full((26, parts[0].shape[1]), 255, np.uint8)
    for place, words in enumerate(COLUMNS):
        _write(head, words, LABEL + place * ((head.shape[1] - LABEL) // len(COLUMNS)) + 4, 18)
    return np.vstack([head, *parts])


def _plane(values: NDArray[np.floating]) -> Picture:
    height, width = values.shape
    scale = SHOWN / max(1, round(float(np.sqrt(height * width))))
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _write(picture: Picture, text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
