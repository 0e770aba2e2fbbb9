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
from numpy.typing import NDArray

from models.methods.papc import pseudo_abnormal
from models.scoring import Array
from models.synthetic_anomalies import HELD_BACK, paste_lesions
from pipeline.evaluation.fidelity import Network, Row, blocks, rebuilds, seen_image
from pipeline.evaluation.pasted_lesions import PastedConfig
from pipeline.forms.form import NO_DATA, SCORED, TILE
from pipeline.forms.fundus import flattened
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, at_size, canvases, load_tiles, read_neutral

Mask = NDArray[np.bool_]

PATCH = "paper patch"
PATCH_SIDE = (1 / 16, 1 / 4)
"""Height and width of a patch, share of the tile's side."""

MOST = 200
"""Validation normals that are altered, evenly spaced: more make the interval little narrower."""

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
    """``repair`` of each alteration of each validation normal; ``config`` None: of the paper's patch alone.

    Rows name image_id, group and subset. Empty for a method that needs true proxies or does not rebuild.
    """
    if network.method.needs_proxy:
        return []
    rows: list[Row] = []
    generator, neutral = torch.Generator().manual_seed(seed), read_neutral(tiles.path)
    rng = np.random.default_rng([seed, *network.canvas.encode()])
    for full in blocks(_some(load_tiles(tiles, None, splits=["val"], canvas=network.canvas), MOST)):
        held = at_size(full, network.size, neutral)
        found = network.predict(held)
        if not rebuilds(found):
            return []
        image, scored = seen_image(found), found.images.scored
        for subset, altered, mask in _altered(network, full, held, config, generator, rng, neutral):
            shown = network.predict(altered)
            before = seen_image(shown)
            for row, (name, group) in enumerate(found.images.images[["image_id", "group"]].to_numpy()):
                inside = mask[row] & scored[row]
                value = repaired_share(shown.reconstruction[row], before[row], image[row], inside)
                rows.append({"image_id": name, "group": group, "subset": subset, "repair": value})
    return rows


def _altered(
    network: Network,
    full: TileSet,
    held: TileSet,
    config: PastedConfig | None,
    generator: torch.Generator,
    rng: np.random.Generator,
    neutral: int,
) -> Iterator[tuple[str, TileSet, Mask]]:
    """(subset, altered tiles at the training size, mask (n, H, W)) of one block."""
    patched, mask = patched_tiles(held, generator)
    yield PATCH, patched, np.asarray(canvases(mask, held.index, network.canvas)[1], bool)
    if config is None:
        return
    for kind in (kind for kind in HELD_BACK if kind in config.lesions.kinds):
        changed, masks = lesion_tiles(full, network.canvas, config, kind, rng)
        small = at_size(changed, network.size, neutral)
        shape = canvases(small.validity, small.index, network.canvas)[1].shape[1:]
        yield kind, small, np.stack([covered(one, (shape[0], shape[1])) for one in masks])


def patched_tiles(held: TileSet, generator: torch.Generator) -> tuple[TileSet, Mask]:
    """Tiles (n, C, h, w) with one patch of another tile each, and where it is (n, h, w)."""
    image = torch.from_numpy(held.pixels.astype(np.float32)) / 255
    valid = torch.from_numpy((held.validity != NO_DATA).astype(np.float32))[:, None]
    altered, mask = pseudo_abnormal(image, image, valid, generator, count=(1, 1), side=PATCH_SIDE, other_image=True)
    stored = np.rint(altered.numpy() * 255).astype(np.uint8)
    return replace(held, pixels=stored), mask[:, 0].numpy() > 0


def lesion_tiles(
    full: TileSet, canvas: str, config: PastedConfig, kind: str, rng: np.random.Generator
) -> tuple[TileSet, list[Mask]]:
    """Tiles at full size with a lesion of one kind on each canvas, and the masks (H, W) of their canvases.

    Lesions have the radius and the strength of ``config``, which are those of medium contrast.
    """
    images, pixels = canvases(full.pixels, full.index, canvas)
    _, validity = canvases(full.validity, full.index, canvas)
    lesion, stored, masks = replace(config.lesions, kinds=(kind,)), full.pixels.copy(), list[Mask]()
    for row, name in enumerate(images["image_id"]):
        codes = np.asarray(pixels[row], np.float32) / np.float32(255)
        changed, mask, _ = paste_lesions(codes, np.asarray(validity[row]) == SCORED, lesion, rng)
        if config.flatten:
            changed = flattened(changed, np.asarray(validity[row], np.uint8))
        masks.append(mask)
        whole = np.rint(changed * 255).astype(np.uint8)
        for at in np.flatnonzero((full.index["image_id"] == name).to_numpy()):
            r, c = (int(full.index[side].iloc[at]) * TILE for side in ("canvas_row", "canvas_col"))
            stored[at] = whole[:, r : r + TILE, c : c + TILE]
    return replace(full, pixels=stored), masks


def covered(mask: Mask, shape: tuple[int, int]) -> Mask:
    """A mask at a smaller size (h, w): cells that it covers at least half as much as the cell it covers most."""
    share = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    kept: Mask = share >= 0.5 * max(float(share.max()), 1e-6)
    return kept


def _some(held: TileSet, most: int) -> TileSet:
    """At most so many images, evenly spaced in the store's order."""
    names = pd.unique(held.index["image_id"])
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))]
    rows = np.flatnonzero(held.index["image_id"].isin(chosen).to_numpy())
    return TileSet(held.pixels[rows], None, held.validity[rows], held.index.iloc[rows].reset_index(drop=True))
