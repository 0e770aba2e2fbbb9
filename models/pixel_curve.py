"""Pixel-level metrics in bounded memory: one histogram per image and subset instead of the pixels.

Legend: H, W pixels, L lesion types, B bins, R resamples. Subsets are ``all`` (any lesion) and each lesion type; the
negatives of every subset are the scored pixels without any lesion. An image takes 16 bytes an entry that is not zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.metrics import Floats, best_f1, bootstrap_weights, percentiles, precision_area, roc_area

PIXEL_METRICS = ("auroc", "ap", "dice_best", "aupro", "auroc_image_mean", "ap_image_mean")
"""``dice_best`` is an oracle: it uses the best threshold on the pixels it is measured on."""
REACH = 1e3
"""Scores beyond this many scales share the outermost bins."""
ROWS = 100
"""Resamples that are computed at a time; bounds memory."""
FPR_LIMIT = 0.3
"""False-positive rate up to which AUPRO integrates."""


def region_area(overlap: Floats, fp: Floats) -> Floats:
    """AUPRO: mean per-region overlap (..., B) integrated over false-positive rates 0..``FPR_LIMIT``, divided by it.

    ``overlap`` is cumulative in descending thresholds and ends at 1; ``fp`` holds cumulative false positives.
    """
    fpr = fp / np.maximum(fp[..., -1:], 1e-12)
    step, width = np.diff(fpr, prepend=0.0), np.diff(np.minimum(fpr, FPR_LIMIT), prepend=0.0)
    share = np.where(step > 0, width / np.where(step > 0, step, 1.0), 0.0)
    low = np.concatenate([np.zeros_like(overlap[..., :1]), overlap[..., :-1]], axis=-1)
    area: Floats = (width * (low + share * (overlap - low) / 2)).sum(-1) / FPR_LIMIT
    return area


@dataclass(frozen=True)
class ImageCounts:
    """Histograms of one image over B bins, most anomalous first: the entries that are not zero.

    Row 0 counts pixels without any lesion, rows 1 to S the pixels of each subset's lesions, and rows S + 1 to 2 S the
    same, each as a share of its region.
    """

    at: NDArray[np.int64]  # (n,) ascending: row · B + bin
    counts: NDArray[np.float64]  # (n,)
    regions: NDArray[np.int64]  # (S,)
    bins: int

    @classmethod
    def of(cls, table: Floats, regions: NDArray[np.int64]) -> "ImageCounts":
        """The counts of a table (1 + 2 S, B)."""
        at = np.flatnonzero(table)
        return cls(at, table.ravel()[at], regions, table.shape[1])

    def row(self, number: int) -> Floats:
        """One histogram (B,)."""
        first = number * self.bins
        inside = slice(*np.searchsorted(self.at, [first, first + self.bins]))
        row = np.zeros(self.bins)
        row[self.at[inside] - first] = self.counts[inside]
        return row

    def packed(self) -> dict[str, NDArray[np.generic]]:
        """The fields as arrays."""
        return {"at": self.at, "counts": self.counts, "regions": self.regions, "bins": np.array(self.bins)}

    @classmethod
    def unpacked(cls, packed: Mapping[str, NDArray[np.generic]]) -> "ImageCounts":
        """Inverse of ``packed``."""
        at, regions = (packed[name].astype(np.int64, copy=False) for name in ("at", "regions"))
        return cls(at, packed["counts"].astype(np.float64, copy=False), regions, int(packed["bins"]))


class PixelCurve:
    """Streaming ROC, precision-recall and region-overlap curves of one pixel score over many images.

    Scores are binned on asinh(score / scale), fixed beforehand: linear near zero, logarithmic in the tails.
    ``scale`` is the typical size of a score (such as the median |score| of validation normals; 1 for z-scores).
    """

    def __init__(self, lesions: Sequence[str], *, scale: float, bins: int = 8192) -> None:
        """An empty curve for the named lesion types; ValueError for a scale that is not positive."""
        if not scale > 0 or bins < 2:
            raise ValueError(f"PixelCurve needs a scale above 0 and at least 2 bins, got {scale} and {bins}")
        self.lesions = tuple(lesions)
        self.subsets = ("all", *self.lesions)
        self.scale, self.bins = scale, bins
        self.groups: list[str] = []
        self._images: list[ImageCounts] = []

    def n_images(self, subset: str = "all") -> int:
        """Images that show the subset's lesion inside the scored region."""
        at = self.subsets.index(subset)
        return sum(bool(counts.regions[at]) for counts in self._images)

    def add(
        self, scores: NDArray[np.floating], lesions: NDArray[np.bool_], scored: NDArray[np.bool_], *, group: str
    ) -> None:
        """Add one image: arguments of ``count``, and its patient or image ``group``."""
        self.append(self.count(scores, lesions, scored), group=group)

    def append(self, counts: ImageCounts, *, group: str) -> None:
        """Add an image that was counted before."""
        self.groups.append(group)
        self._images.append(counts)

    def count(self, scores: NDArray[np.floating], lesions: NDArray[np.bool_], scored: NDArray[np.bool_]) -> ImageCounts:
        """Histograms of one image: scores (H, W), lesion masks (L, H, W), scored pixels (H, W)."""
        inside, masks = np.asarray(scored, bool), np.asarray(lesions, bool)
        if scores.shape != inside.shape or masks.shape != (len(self.lesions), *inside.shape):
            got = f"got {scores.shape}, {inside.shape} and {masks.shape}"
            raise ValueError(f"expected scores and scored (H, W) and {len(self.lesions)} lesion masks, {got}")
        if not np.isfinite(scores[inside]).all():
            raise ValueError("scored pixels hold values that are not finite")
        place = np.arcsinh(np.where(inside, scores, 0.0).astype(float) / self.scale) / np.arcsinh(REACH)
        rising = np.floor((np.clip(place, -1, 1) + 1) / 2 * self.bins).astype(np.int64)
        bins = self.bins - 1 - np.minimum(rising, self.bins - 1)  # 0 = the most anomalous
        union = masks.any(axis=0)
        negative = np.bincount(bins[inside & ~union], minlength=self.bins)
        positive, overlap, counted = list[Floats](), list[Floats](), list[int]()
        for mask in (union & inside, *(masks & inside)):
            regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
            labels, places = regions[mask], bins[mask]
            share = 1.0 / np.maximum(np.bincount(labels, minlength=count + 1), 1)
            positive.append(np.bincount(places, minlength=self.bins).astype(float))
            overlap.append(np.bincount(places, share[labels], minlength=self.bins).astype(np.float32))
            counted.append(int(count))
        return ImageCounts.of(np.vstack([negative, *positive, *overlap]).astype(float), np.array(counted))

    def _arrays(self, subset: str) -> tuple[Floats, Floats, Floats, Floats]:
        """Positives, negatives, overlaps (images, used bins) and regions (images,)."""
        if not self.groups:
            raise ValueError("PixelCurve holds no image yet: call add() first")
        at = self.subsets.index(subset)
        rows = (1 + at, 0, 1 + len(self.subsets) + at)
        stacked = [np.stack([counts.row(row) for counts in self._images]) for row in rows]
        used = (stacked[0].sum(0) + stacked[1].sum(0)) > 0
        positive, negative, overlap = (array[:, used] for array in stacked)
        return positive, negative, overlap, np.array([counts.regions[at] for counts in self._images], float)

    @staticmethod
    def _values(arrays: tuple[Floats, Floats, Floats, Floats], weights: Floats) -> dict[str, Floats]:
        """Every metric for every row of image weights (R, images)."""
        positive, negative, overlap, regions = arrays
        tp, fp = np.cumsum(weights @ positive, axis=1), np.cumsum(weights @ negative, axis=1)
        found = np.cumsum(weights @ overlap, axis=1) / np.maximum(weights @ regions, 1e-12)[:, None]
        defined = (tp[:, -1] > 0) & (fp[:, -1] > 0)
        pooled = {"auroc": roc_area(tp, fp), "ap": precision_area(tp, fp), "dice_best": best_f1(tp, fp)}
        pooled["aupro"] = region_area(found, fp)
        values = {name: np.where(defined, value, np.nan) for name, value in pooled.items()}
        single = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
        for name, value in (("auroc_image_mean", roc_area(*single)), ("ap_image_mean", precision_area(*single))):
            seen = np.isfinite(value)
            mass = weights[:, seen].sum(1)
            mean = weights[:, seen] @ value[seen] / np.maximum(mass, 1e-12)
            values[name] = np.where(mass > 0, mean, np.nan)
        return values

    def values(self, subset: str = "all") -> dict[str, float]:
        """The metrics of ``PIXEL_METRICS`` over all images; NaN if the subset has no pixel."""
        once = self._values(self._arrays(subset), np.ones((1, len(self.groups))))
        return {name: float(value[0]) for name, value in once.items()}

    def intervals(
        self, subset: str = "all", *, n: int = 1000, rng: np.random.Generator
    ) -> dict[str, tuple[float, float]]:
        """95 % intervals that draw whole groups of images; NaN for a single group."""
        if len(set(self.groups)) < 2:
            return {name: (float("nan"), float("nan")) for name in PIXEL_METRICS}
        return {name: percentiles(values) for name, values in self.resampled(subset, n=n, rng=rng).items()}

    def resampled(self, subset: str = "all", *, n: int = 1000, rng: np.random.Generator) -> dict[str, Floats]:
        """Every metric (n,) of the resamples: equal generator states and groups give every score the same draws."""
        weights, arrays = bootstrap_weights(self.groups, n, rng), self._arrays(subset)
        chunks = [self._values(arrays, weights[start : start + ROWS]) for start in range(0, n, ROWS)]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in PIXEL_METRICS}

    def curves(self, subset: str = "all", points: int = 200) -> Mapping[str, list[float]]:
        """Points of the pooled curves for drawing: fpr, tpr, recall, precision; empty lists without lesion pixels."""
        positive, negative, _, _ = self._arrays(subset)
        tp, fp = np.cumsum(positive.sum(0)), np.cumsum(negative.sum(0))
        if tp[-1] == 0 or fp[-1] == 0:
            return {"fpr": [], "tpr": [], "recall": [], "precision": []}
        tpr, fpr = tp / tp[-1], fp / fp[-1]
        wanted = np.linspace(0, 1, points // 2)
        keep = np.unique(np.r_[np.searchsorted(tpr, wanted), np.searchsorted(fpr, wanted), 0, tp.size - 1])
        keep = keep[keep < tp.size]
        precision = tp[keep] / np.maximum(tp[keep] + fp[keep], 1e-12)
        shown = {"fpr": np.r_[0, fpr[keep]], "tpr": np.r_[0, tpr[keep]], "recall": tpr[keep], "precision": precision}
        return {name: [round(float(v), 5) for v in values] for name, values in shown.items()}
