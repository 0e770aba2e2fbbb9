"""The linear control: what principal components of normal canvases cannot rebuild.

A learned method that does not beat this has no result. Legend: n, m images of H x W canvas pixels.
"""

from collections.abc import Sequence

import numpy as np

from models.scoring import Array
from pipeline.detectors.scorers import CanvasImages
from pipeline.detectors.similar import Masks, with_mirrors
from pipeline.errors import ConfigError

EXACT_SHARE = 0.15  # above this share of all components, an exact decomposition is faster


def pca_residual(
    train: CanvasImages, images: CanvasImages, *, components: int, mirrored: bool = False, shifts: Sequence[int] = ()
) -> Array:
    """Signed difference (m, H, W) of images from their reconstruction, 0 where nothing was imaged.

    There, training and other images take the mean of the training pixels that were imaged at that place. ``mirrored``
    adds every training image with its columns reversed, ``shifts`` adds copies moved by these numbers of columns (0 is
    always included). ``components`` is limited to one less than the number of training images.
    """
    from sklearn.decomposition import PCA  # takes a second to import, and most commands score no image

    if components < 1:
        raise ConfigError(f"pca_residual needs at least one component, got {components}")
    if train.gray.shape[1:] != images.gray.shape[1:]:
        raise ConfigError(f"pca_residual: expected images of one H x W, got {train.gray.shape} and {images.gray.shape}")
    normals, masks = augmented(train.gray, train.seen, mirrored=mirrored, shifts=shifts)
    mean = valid_mean(normals, masks)
    rows = np.where(masks, normals - mean, 0).reshape(len(normals), -1)
    asked = np.where(images.seen, images.gray - mean, 0).reshape(len(images.gray), -1).astype(np.float32)
    count = min(components, len(rows) - 1, rows.shape[1])
    if count < 1:
        raise ConfigError(f"PCA needs at least 2 training images, got {len(rows)}")
    exact = count > EXACT_SHARE * min(rows.shape)
    model = PCA(count, svd_solver="full" if exact else "randomized", iterated_power=4, random_state=0)
    model.fit(rows.astype(np.float32))
    rebuilt = model.inverse_transform(model.transform(asked))
    return np.where(images.seen, (asked - rebuilt).reshape(images.gray.shape), 0).astype(np.float32)


def augmented(images: Array, masks: Masks, *, mirrored: bool, shifts: Sequence[int]) -> tuple[Array, Masks]:
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


def valid_mean(images: Array, masks: Masks) -> Array:
    """Mean image (H, W) over valid pixels; where no image is valid, the mean of all valid pixels."""
    count = masks.sum(axis=0)
    total = np.where(masks, images, 0).sum(axis=0, dtype=np.float64)
    everywhere = total.sum() / max(int(count.sum()), 1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), everywhere), np.float32)
