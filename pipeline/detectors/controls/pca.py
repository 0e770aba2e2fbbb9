"""The linear control: what principal components of normal canvases cannot rebuild. No method may lose to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from models.scoring import Array, Mask
from pipeline.detectors.contract import ControlDetector
from pipeline.detectors.images import CanvasImages
from pipeline.detectors.neighbour import with_mirrors
from pipeline.errors import ConfigError

EXACT_SHARE = 0.15  # above this share of all components, an exact decomposition is faster


@dataclass(frozen=True, kw_only=True)
class Pca(ControlDetector):
    """Principal components of training normals, and what they cannot rebuild.

    Options: ``components``, limited to one less than the number of training images; ``mirrored`` adds every training
    image with its columns reversed, ``shifts`` copies moved by these numbers of columns (0 is always included). Where
    nothing was imaged, training and other images take ``mean``, that of the training pixels imaged at that place.
    """

    mean: Array  # (H, W)
    centre: Array  # (H·W,) of the training rows
    directions: Array  # (components, H·W)

    needs_normals = rebuilds = True

    @classmethod
    def fitted(cls, train: CanvasImages | None, **common: Any) -> Self:
        """Decompose the training images; ``ConfigError`` if there are fewer than two."""
        assert train is not None, "PCA needs training normals"
        mean, centre, directions = _fit(train, **common["options"])
        return cls(mean=mean, centre=centre, directions=directions, **common)

    def difference(self, images: CanvasImages) -> Array:
        """Signed difference of images from their reconstruction, 0 where nothing was imaged."""
        if images.gray.shape[1:] != self.mean.shape:
            raise ConfigError(f"PCA: expected images of {self.mean.shape} px, got {images.gray.shape[1:]}")
        return np.stack([self._one(gray, seen) for gray, seen in zip(images.gray, images.seen, strict=True)])

    def _one(self, gray: Array, seen: Mask) -> Array:
        """One image at a time: rows of a matrix product may differ with their number."""
        asked = np.where(seen, gray - self.mean, 0).ravel().astype(np.float32)
        rebuilt = (self.directions @ asked - self.directions @ self.centre) @ self.directions + self.centre
        return np.where(seen, (asked - rebuilt).reshape(gray.shape), 0).astype(np.float32)


def _fit(
    train: CanvasImages, *, components: int, mirrored: bool = False, shifts: Sequence[int] = ()
) -> tuple[Array, Array, Array]:
    """Mean image, centre of the rows, and principal directions."""
    from sklearn.decomposition import PCA  # takes a second to import, and most commands score no image

    if components < 1:
        raise ConfigError(f"PCA needs at least one component, got {components}")
    normals, masks = augmented(train.gray, train.seen, mirrored=mirrored, shifts=shifts)
    mean = valid_mean(normals, masks)
    rows = np.where(masks, normals - mean, 0).reshape(len(normals), -1)
    count = min(components, len(rows) - 1, rows.shape[1])
    if count < 1:
        raise ConfigError(f"PCA needs at least 2 training images, got {len(rows)}")
    exact = count > EXACT_SHARE * min(rows.shape)
    model = PCA(count, svd_solver="full" if exact else "randomized", iterated_power=4, random_state=0)
    model.fit(rows.astype(np.float32))
    return mean, np.ascontiguousarray(model.mean_, np.float32), np.ascontiguousarray(model.components_, np.float32)


def augmented(images: Array, masks: Mask, *, mirrored: bool, shifts: Sequence[int]) -> tuple[Array, Mask]:
    """Images and masks with mirrored and column-shifted copies; columns that a shift uncovers are invalid."""
    images, masks = with_mirrors(images, mirrored), with_mirrors(masks, mirrored)
    width = images.shape[2]
    columns = [np.arange(width) - step for step in (0, *(step for step in shifts if step))]
    clipped = [np.clip(c, 0, width - 1) for c in columns]
    inside = [(c >= 0) & (c < width) for c in columns]
    return (
        np.concatenate([images[:, :, c] for c in clipped]),
        np.concatenate([masks[:, :, c] & seen for c, seen in zip(clipped, inside, strict=True)]),
    )


def valid_mean(images: Array, masks: Mask) -> Array:
    """Mean image (H, W) over valid pixels; where no image is valid, the mean of all valid pixels."""
    count = masks.sum(axis=0)
    total = np.where(masks, images, 0).sum(axis=0, dtype=np.float64)
    everywhere = total.sum() / max(int(count.sum()), 1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), everywhere), np.float32)
