"""The linear control: what principal components of normal canvases cannot rebuild.

A learned method that does not beat this has no result. Legend: n, m images of H x W canvas pixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

EXACT_SHARE = 0.15  # from this share of all components on, an exact decomposition is the faster one


def pca_residual(
    train: Array,
    query: Array,
    *,
    components: int,
    train_mask: Mask,
    query_mask: Mask,
    mirrored: bool = False,
    shifts: Sequence[int] = (),
) -> Array:
    """Signed residual query - reconstruction (m, H, W), zero where ``query_mask`` is False.

    Invalid pixels take the mean of the valid training pixels at their place, in training and in query. ``mirrored``
    adds every training image with its columns reversed, ``shifts`` adds copies moved by so many columns (0 is always
    there). ``components`` is cut to what the training images can carry, one less than their number.
    """
    from sklearn.decomposition import PCA  # a second to import, and most commands look at no image

    if components < 1:
        raise ConfigError(f"pca_residual needs at least one component, got {components}")
    if train.shape[1:] != query.shape[1:] or train.shape != train_mask.shape or query.shape != query_mask.shape:
        shapes = [a.shape for a in (train, train_mask, query, query_mask)]
        raise ConfigError(f"train, train_mask, query, query_mask must be (n, H, W) of one H x W, got {shapes}")
    images, masks = augmented(train, train_mask, mirrored=mirrored, shifts=shifts)
    mean = valid_mean(images, masks)
    rows = np.where(masks, images - mean, 0).reshape(len(images), -1)
    seen = np.where(query_mask, query - mean, 0).reshape(len(query), -1).astype(np.float32)
    count = min(components, len(rows) - 1, rows.shape[1])
    if count < 1:
        raise ConfigError(f"PCA needs at least 2 training images, got {len(rows)}")
    exact = count > EXACT_SHARE * min(rows.shape)
    model = PCA(count, svd_solver="full" if exact else "randomized", iterated_power=4, random_state=0)
    model.fit(rows.astype(np.float32))
    rebuilt = model.inverse_transform(model.transform(seen))
    return np.where(query_mask, (seen - rebuilt).reshape(query.shape), 0).astype(np.float32)


def augmented(images: Array, masks: Mask, *, mirrored: bool, shifts: Sequence[int]) -> tuple[Array, Mask]:
    """Images and masks with mirrored and column-shifted copies; columns that a shift uncovers are invalid."""
    if mirrored:
        images = np.concatenate([images, images[:, :, ::-1]])
        masks = np.concatenate([masks, masks[:, :, ::-1]])
    moved = [0, *(step for step in shifts if step)]
    width = images.shape[2]
    columns = [np.arange(width) - step for step in moved]
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
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), everywhere).astype(np.float32)
    return mean
