"""Sheets of reconstructions: one row an image, one column an array, best to worst normals, then lesions."""

from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.fidelity import BLOCK, Network, image_rows, seen_image, true_proxy
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.score_name import ScoreName
from pipeline.store.versions import Store

SHOWN = 192  # px, side of a square tile in a picture
GAIN = 3.0  # of the residual
COLUMNS = ("image", "true proxy", "predicted proxy", "reconstruction", f"{GAIN:g} x residual")
LABEL = 150  # px, width of the row's name

Picture = NDArray[np.uint8]


def sheets(store: Store, dataset: str) -> Iterator[tuple[str, Picture]]:
    """Per canvas: best, median and worst reconstructed normal, then most, median and least conspicuous lesion.

    Normals are ordered by R² of the reconstruction, abnormal test images by the root mean square of I - Î.
    """
    lane = load_evaluation(store.current(f"{dataset}/evaluation").path)
    trained, tiles, proxies = (
        store.get(f"{dataset}/{part}", lane.summary["versions"][f"{dataset}/{part}"])
        for part in ("stage2", "tiles", "proxies")
    )
    table = lane.scores.set_index("image_id")
    error = table[ScoreName.of(lane.summary["method"], "image").column]
    for canvas in trained.meta["canvases"]:
        network = Network.of(trained, canvas)
        held = network.tiles(tiles, proxies, ("val", "holdout", "test"))
        explained = pd.DataFrame(image_rows(network, held))
        shown = explained[explained["split"] == ("test" if _tested(explained) else "val")]
        normal = shown[shown["label"] == 0].set_index("image_id")["reconstruction_r2"].dropna().sort_values()[::-1]
        lesions = error[table["label"] == 1].sort_values()[::-1]
        wanted = dict(zip(_three(normal.index), ("best normal", "median normal", "worst normal"), strict=True))
        wanted |= dict(
            zip(_three(lesions.index), ("most conspicuous", "median abnormal", "least conspicuous"), strict=True)
        )
        yield canvas, _sheet(network, held, wanted, normal.to_dict() | lesions.to_dict())


def _tested(rows: pd.DataFrame) -> bool:
    return bool(((rows["split"] == "test") & (rows["label"] == 0)).any())


def _three(names: pd.Index) -> list[str]:
    """First, middle and last."""
    return [str(names[0]), str(names[len(names) // 2]), str(names[-1])]


def _sheet(network: Network, held: Any, wanted: Mapping[str, str], figure: Mapping[str, float]) -> Picture:
    """One row an image, one column an array; contrast as the network sees it, the residual's size times ``GAIN``."""
    rows: dict[str, Picture] = {}
    contrast = float(getattr(network.method.config, "contrast", 1.0))
    for block in held.blocks(BLOCK):
        if not set(block.index["image_id"]) & set(wanted):
            continue
        found, proxy = network.predict(block), true_proxy(block, network.canvas)
        image = seen_image(found)
        for row, name in enumerate(found.images.images["image_id"]):
            if name in wanted and proxy is not None:
                size = np.abs(image[row] - found.reconstruction[row]) * found.images.scored[row] * GAIN
                planes = (image[row], proxy[row], found.proxy[row], found.reconstruction[row])
                stretched = [0.5 + contrast * (plane - 0.5) for plane in planes]
                rows[name] = np.hstack([_plane(one) for one in (*stretched, contrast * size)])
    parts = [_captioned(rows[name], f"{title}\n{figure[name]:.2f}") for name, title in wanted.items()]
    return np.vstack([_titles(parts[0].shape[1]), *parts])


def _plane(values: NDArray[np.floating]) -> Picture:
    height, width = values.shape
    scale = SHOWN / max(1, round(float(np.sqrt(height * width))))
    grey = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _captioned(row: Picture, text: str) -> Picture:
    side = np.full((row.shape[0], LABEL), 255, np.uint8)
    for line, words in enumerate(text.split("\n")):
        cv2.putText(side, words, (4, 24 + 20 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return np.hstack([side, row])


def _titles(width: int) -> Picture:
    head = np.full((26, width), 255, np.uint8)
    each = (width - LABEL) // len(COLUMNS)
    for place, title in enumerate(COLUMNS):
        cv2.putText(head, title, (LABEL + place * each + 4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    return head
