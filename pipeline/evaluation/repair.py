"""Does a method repair what was altered? Validation normals are altered, and Î' is compared with the untouched I.

Two kinds of alteration: the paper's pseudo-abnormal patch (Zhou et al., III-D: a rectangle of another normal image),
and pasted lesions of kinds that no method trains on. Legend: n images, C channels, H, W px of a canvas.
"""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import torch

from models.methods.papc import pseudo_abnormal
from models.scoring import Array
from models.synthetic_anomalies import HELD_BACK
from pipeline.evaluation.fidelity import BLOCK, Network, Row, rebuilds, seen_image
from pipeline.evaluation.pasted_lesions import Mask, PastedConfig, with_lesions
from pipeline.forms.form import NO_DATA
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, at_size, canvases, load_tiles, read_neutral

PATCH = "paper patch"
PATCH_SIDE = (1 / 16, 1 / 4)
"""Height and width of a patch, share of the tile's side."""

MOST = 200
"""Largest number of validation normals that are altered; more would hardly narrow the interval."""

LEAST_CHANGE = 1 / 255
"""Root mean square of the change inside the mask, below which there is nothing to repair."""


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


def repair_rows(network: Network, tiles: Version, config: PastedConfig | None, seed: int = 0) -> list[Row]:
    """``repair`` of each alteration of each validation normal; without ``config`` the paper's patch alone.

    Rows name image_id, group and subset. Empty for a method that needs true proxies or does not rebuild images.
    """
    if network.method.needs_proxy:
        return []
    rows: list[Row] = []
    generator, neutral = torch.Generator().manual_seed(seed), read_neutral(tiles.path)
    rng = np.random.default_rng([seed, *network.canvas.encode()])
    normals = load_tiles(tiles, None, splits=["val"], canvas=network.canvas)
    for full in _evenly_spaced(normals, MOST).blocks(BLOCK):
        small = at_size(full, network.size, neutral)
        predicted = network.predict(small)
        if not rebuilds(predicted):
            return []
        image, scored = seen_image(predicted), predicted.images.scored
        for subset, altered, mask in _altered(network, full, small, config, generator, rng, neutral):
            repaired = network.predict(altered)
            before = seen_image(repaired)
            for row, (name, group) in enumerate(predicted.images.images[["image_id", "group"]].to_numpy()):
                share = repaired_share(repaired.reconstruction[row], before[row], image[row], mask[row] & scored[row])
                rows.append({"image_id": name, "group": group, "subset": subset, "repair": share})
    return rows


def _altered(
    network: Network,
    full: TileSet,
    small: TileSet,
    config: PastedConfig | None,
    generator: torch.Generator,
    rng: np.random.Generator,
    neutral: int,
) -> Iterator[tuple[str, TileSet, Mask]]:
    """(subset, altered tiles at the training size, mask (n, H, W)) of one block of tiles in both sizes."""
    patched, mask = patched_tiles(small, generator)
    yield PATCH, patched, np.asarray(canvases(mask, small.index, network.canvas)[1], bool)
    if config is None:
        return
    shape = canvases(small.validity, small.index, network.canvas)[1].shape[1:]
    for kind in (kind for kind in HELD_BACK if kind in config.lesions.kinds):
        lesions = [replace(config.lesions, kinds=(kind,))] * full.index["image_id"].nunique()
        pasted, masks = with_lesions(full, network.canvas, lesions, config.flatten, rng)
        yield kind, at_size(pasted, network.size, neutral), np.stack([covered(mask, shape) for mask in masks])


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


def _evenly_spaced(tiles: TileSet, most: int) -> TileSet:
    """At most so many images, evenly spaced in the store's order."""
    names = pd.unique(tiles.index["image_id"])
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))]
    return tiles.rows(tiles.index["image_id"].isin(chosen).to_numpy())
