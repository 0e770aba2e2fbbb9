"""What a method does to single images: how well it predicts proxies, rebuilds images and repairs what was altered.

R² is 1 − Σ(estimate − truth)² / Σ(truth − mean truth)² over the scored pixels of one image: 1 is perfect, 0 is as good
as the image's mean, below 0 is worse. For the repair, validation normals are altered by the paper's pseudo-abnormal
patch (Zhou et al., III-D: a rectangle of another normal image) and by pasted lesions of kinds that no method trains on;
Î' is compared with the untouched I.
Legend: n images, H, W px of a canvas at the training size; planes are means over channels, in [0, 1].
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from models.methods.papc import pseudo_abnormal
from models.scoring import Array, Mask
from models.synthetic_anomalies import HELD_BACK
from pipeline.detectors.network import NetworkDetector, NetworkMaps
from pipeline.evaluation.pasted_lesions import PastedConfig, with_lesions
from pipeline.forms.form import NO_DATA
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, at_size, canvases, load_tiles

BLOCK = 16  # images that are predicted at once
MOST = 200  # validation normals that are altered; more would hardly narrow the interval
PATCH = "paper patch"
PATCH_SIDE = (1 / 16, 1 / 4)  # height and width of a patch, share of the tile's side
LEAST_CHANGE = 1 / 255  # root mean square of the change inside the mask, below which there is nothing to repair

Row = dict[str, Any]
"""image_id, group, split, label and one value a metric; NaN where a metric is not defined."""


def seen_image(found: NetworkMaps) -> Array:
    """I (n, H, W) as the network saw it: Î + (I − Î), where there is data."""
    image: Array = found.reconstruction + found.residual
    return image


def true_proxy(held: TileSet, canvas: str) -> Array | None:
    """P (n, H, W) of tiles that have proxies, else None."""
    if held.proxies is None:
        return None
    plane = held.proxies.mean(axis=1, dtype=np.float32) / np.float32(255)
    return np.asarray(canvases(plane, held.index, canvas)[1], np.float32)


def rebuilds(found: NetworkMaps) -> bool:
    """Whether the method rebuilds images: its map is the residual I − Î, and that is not zero everywhere."""
    return bool(found.residual.any()) and np.array_equal(found.steady, found.residual)


def r_squared(estimate: Array, truth: Array, inside: Mask) -> float:
    """R² of an estimate (H, W) inside a mask (H, W); NaN for an empty mask or a constant truth."""
    wanted = truth[inside].astype(float)
    if wanted.size < 2 or np.ptp(wanted) < 1e-6:
        return float("nan")
    missed = np.square(estimate[inside].astype(float) - wanted).sum()
    return float(1 - missed / np.square(wanted - wanted.mean()).sum())


def image_rows(network: NetworkDetector, held: TileSet) -> list[Row]:
    """A row for each image of ``held`` with the R² of P̂ against P, of Î against I and of P as an estimate of I.

    The last one is a ceiling: all that a perfect P̂ tells about I. ``held`` are tiles at the network's size. Empty for a
    method that does not rebuild images.
    """
    rows: list[Row] = []
    for block in held.blocks(BLOCK):
        found = network.maps(block)
        if not rebuilds(found):
            return []
        image = seen_image(found)
        estimates = {"reconstruction_r2": (found.reconstruction, image)}
        proxy = true_proxy(block, network.canvas)
        if proxy is not None and not np.array_equal(found.proxy, found.reconstruction):
            estimates |= {"proxy_r2": (found.proxy, proxy), "proxy_ceiling_r2": (proxy, image)}
        images = found.images.images[["image_id", "group", "split", "label"]].to_dict("records")
        for row, (named, inside) in enumerate(zip(images, found.images.scored, strict=True)):
            values = {name: r_squared(one[row], other[row], inside) for name, (one, other) in estimates.items()}
            rows.append({str(name): value for name, value in named.items()} | values)
    return rows


def repaired_share(rebuilt: Array, altered: Array, image: Array, mask: Mask) -> float:
    """1 − ‖M⊙(Î' − I)‖² / ‖M⊙(I' − I)‖² of planes (H, W): 1 is repaired, 0 is as far from I as I' is.

    NaN for an empty mask, or where I' hardly differs from I inside it.
    """
    if not mask.any():
        return float("nan")
    change = float(np.square((altered - image)[mask].astype(float)).mean())
    if change < LEAST_CHANGE**2:
        return float("nan")
    return 1 - float(np.square((rebuilt - image)[mask].astype(float)).mean()) / change


def repair_rows(network: NetworkDetector, tiles: Version, config: PastedConfig | None) -> list[Row]:
    """``repair`` of each alteration of each validation normal; without ``config`` the paper's patch alone.

    Rows name image_id, group, subset and ``weight``, ‖M⊙(I' − I)‖²: shares weighted by it add up to the share of the
    alterations' error over all images, while their plain mean hangs on images that were hardly altered. Empty for a
    method that needs true proxies or does not rebuild images.
    """
    if network.method.needs_proxy:
        return []
    rows: list[Row] = []
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng([0, *network.canvas.encode()])
    normals = load_tiles(tiles, None, splits=["val"], canvas=network.canvas)
    names = pd.unique(normals.index["image_id"])
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(MOST, len(names))).round().astype(int))]
    for full in normals.rows(normals.index["image_id"].isin(chosen).to_numpy()).blocks(BLOCK):
        small = at_size(full, network.size, network.neutral)
        found = network.maps(small)
        if not rebuilds(found):
            return []
        image, scored = seen_image(found), found.images.scored
        for subset, altered, mask in _altered(network, full, small, config, generator, rng):
            repaired = network.maps(altered)
            before = seen_image(repaired)
            for row, (name, group) in enumerate(found.images.images[["image_id", "group"]].to_numpy()):
                inside = mask[row] & scored[row]
                share = repaired_share(repaired.reconstruction[row], before[row], image[row], inside)
                weight = float(np.square((before[row] - image[row])[inside].astype(float)).sum())
                rows.append({"image_id": name, "group": group, "subset": subset, "repair": share, "weight": weight})
    return rows


def _altered(
    network: NetworkDetector,
    full: TileSet,
    small: TileSet,
    config: PastedConfig | None,
    generator: torch.Generator,
    rng: np.random.Generator,
) -> Iterator[tuple[str, TileSet, Mask]]:
    """(subset, altered tiles at the training size, mask (n, H, W)) of one block of tiles in both sizes."""
    patched, mask = patched_tiles(small, generator)
    patches = np.asarray(canvases(mask, small.index, network.canvas)[1], bool)
    yield PATCH, patched, patches
    if config is None:
        return
    for kind in (kind for kind in HELD_BACK if kind in config.lesions.kinds):
        lesions = [replace(config.lesions, kinds=(kind,))] * full.index["image_id"].nunique()
        pasted, masks = with_lesions(full, network.canvas, lesions, config.flatten, rng)
        small_masks = np.stack([covered(mask, patches.shape[1:]) for mask in masks])
        yield kind, at_size(pasted, network.size, network.neutral), small_masks


def patched_tiles(tiles: TileSet, generator: torch.Generator) -> tuple[TileSet, Mask]:
    """Tiles (n, C, h, w) with one patch of another tile each, and where it is (n, h, w)."""
    image = torch.from_numpy(tiles.pixels.astype(np.float32)) / 255
    valid = torch.from_numpy((tiles.validity != NO_DATA).astype(np.float32))[:, None]
    altered, mask = pseudo_abnormal(image, image, valid, generator, count=(1, 1), side=PATCH_SIDE, other_image=True)
    stored = np.rint(altered.numpy() * 255).astype(np.uint8)
    return replace(tiles, pixels=stored), mask[:, 0].numpy() > 0


def covered(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask at a smaller size (h, w): cells that it covers at least half as much as the cell it covers most."""
    share = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    kept: Mask = share >= 0.5 * max(float(share.max()), 1e-6)
    return kept
