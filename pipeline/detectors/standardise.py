"""Turn a detector's maps into scores: standardise by validation normals, and add up the members of a committee.

A validation image is standardised by the *other* normals (its group is left out), because the label-free threshold must
not come from images that the statistics have already seen. Legend as in ``models.scoring``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import scoring
from models.metrics import Floats
from models.scoring import Array, Mask, NormalStatistics, NormalSums, ScoreConfig
from pipeline.detectors.contract import CanvasDetector, PixelMaps, joined
from pipeline.detectors.images import BLOCK, CanvasImages, enlarge
from pipeline.detectors.neighbour import ranking, with_mirrors
from pipeline.errors import DatasetUnusable
from pipeline.store.versions import Version
from pipeline.tiles.loading import TileSet, read_index, tile_blocks

HEAT_RANGE = (0.0, 8.0)
"""Standardised scores (sd of normals) of the coldest and the hottest colour, the same for every image."""
WORTH = 8.0  # weight, in images, of the statistics of all normals when they are added to those of the few similar ones
OWN, COMMITTEE = "method", "committee"
"""Name of the lane's own method among the weights of a committee, and that of the committee itself."""


@dataclass(frozen=True)
class SimilarNormals:
    """Held-out normals; each image is standardised by those most like it.

    A slot of brain MRI holds three planes and many contrasts. Where anatomy and texture differ that much, the mean
    residual of all normals describes none of them.
    """

    images: Array  # (n, H, W) in [0, 1], compared with the image
    scored: Mask  # (n, H, W)
    smoothed: Array  # (n, P, H, W) parts of their residuals
    offsets: NDArray[np.float64]  # (n, 2) px
    config: ScoreConfig

    def statistics(self, image: Array, scored: Mask, without: Collection[int] = ()) -> NormalStatistics:
        """Mean and sd for an image (H, W); ``without`` lists normals to leave out, those of the image's own group."""
        count = len(self.images)
        kept = np.array([at for at in range(len(self._bank)) if at % count not in without], dtype=np.int64)
        chosen = kept[ranking(self._bank[kept], image, scored, self.config.similar)]
        everyone = self._everyone
        for one in without:
            everyone = everyone - NormalSums.of(self._each[at] for at in range(one, len(self._bank), count))
        similar = NormalSums.of(self._each[at] for at in chosen).smoothed(self.config.sigma)
        return (similar + everyone.scaled(WORTH / everyone.count.max())).statistics(self.config)

    @cached_property
    def _bank(self) -> Array:
        return with_mirrors(self.images, self.config.mirrored)

    @cached_property
    def _each(self) -> list[NormalSums]:
        """Sums of each image of the bank."""
        single = replace(self.config, mirrored=False)
        rows = zip(self.smoothed, self.scored, self.offsets, strict=True)
        found = [scoring.sums([parts], [mask], [(float(at[0]), float(at[1]))], single) for parts, mask, at in rows]
        return found + ([one.flipped() for one in found] if self.config.mirrored else [])

    @cached_property
    def _everyone(self) -> NormalSums:
        return NormalSums.of(self._each)


@dataclass(frozen=True)
class Standardiser:
    """Statistics of the validation normals of one canvas."""

    normal: NormalStatistics  # of all
    similar: SimilarNormals | None  # one by one, if each image is standardised by the most similar
    groups: NDArray[np.int64]  # (n,) of the validation normals
    raw: Array  # (n,) their raw image scores, each by the statistics of the others
    config: ScoreConfig
    _: KW_ONLY
    normals: PixelMaps | None = field(default=None, metadata={"saved": False}, repr=False)  # after fitting alone
    total: NormalSums | None = field(default=None, metadata={"saved": False}, repr=False)  # of ``normals``

    @classmethod
    def fit(cls, found: PixelMaps, config: ScoreConfig, *, keep: bool = False) -> tuple["Standardiser", list[Array]]:
        """Statistics of validation normals, and their maps (H, W), each standardised by those of other groups.

        ``keep`` their maps, so that altered copies of them can be scored without their own group as well.
        """
        images, parts = found.images, found.parts
        if (count := len(set(images.groups))) < 2:
            raise DatasetUnusable(f"scores need validation normals of two groups or more, got {count}")
        similar = None
        if config.similar:
            offsets = np.stack([images.offset(row) for row in range(len(parts))])
            similar = SimilarNormals(images.gray, images.scored, parts, offsets, config)
        total, unscored = _sums(found, range(len(parts)), config), np.zeros(0, np.float32)
        normal = total.statistics(config)
        fitted = cls(normal, similar, images.groups, unscored, config, normals=found, total=total)
        maps = fitted.maps(found)
        fitted = replace(fitted, raw=fitted.scores(images, maps))
        return fitted if keep else replace(fitted, normals=None, total=None), maps

    def maps(self, found: PixelMaps) -> list[Array]:
        """Standardised maps (H, W) of images; higher = more anomalous, 0 where nothing is scored."""
        images = found.images
        return [
            scoring.standardise_one(
                parts, self._statistics(images, row), images.scored[row], images.offset(row), self.config
            )
            for row, parts in enumerate(found.parts)
        ]

    def scores(self, images: CanvasImages, maps: list[Array]) -> Array:
        """Raw image scores (n,): mean of the worst share of pixels of every map."""
        return scoring.worst_mean(maps, images.scored, self.config)

    def z(self, raw: Array) -> Array:
        """Raw image scores in units of the sd of validation normals."""
        return scoring.z_score(raw, self.raw)

    def _statistics(self, images: CanvasImages, row: int) -> NormalStatistics:
        kin = np.flatnonzero(self.groups == images.groups[row])
        if self.similar:
            return self.similar.statistics(images.gray[row], images.scored[row], kin.tolist())
        if self.normals is None or self.total is None or not len(kin):
            return self.normal
        return _sums(self.normals, kin.tolist(), self.config).taken_from(self.total).statistics(self.config)


def _sums(found: PixelMaps, rows: Sequence[int], config: ScoreConfig) -> NormalSums:
    images = found.images
    parts, scored, offsets = found.parts.__getitem__, images.scored.__getitem__, images.offset
    return scoring.sums(map(parts, rows), map(scored, rows), map(offsets, rows), config)


class Scored(NamedTuple):
    """Results of one canvas for several images."""

    found: PixelMaps
    maps: list[Array]  # standardised, (H, W) each
    z: Array  # (n,) image scores, sd of validation normals


@dataclass(frozen=True)
class CanvasScorer:
    """A detector with its standardiser; ``image_ids`` name the validation normals."""

    detector: CanvasDetector
    standardise: Standardiser
    image_ids: tuple[str, ...]

    @classmethod
    def fit(
        cls, detector: CanvasDetector, tiles: Version, proxies: Version | None = None, *, keep: bool = False
    ) -> tuple["CanvasScorer", list[Array]]:
        """Standardise by the validation normals of a tiles version; also gives their maps. ``keep`` as in fitting."""
        index = read_index(tiles)
        count = index["image_id"][(index["split"] == "val") & (index["canvas"] == detector.canvas)].nunique()
        blocks = tile_blocks(tiles, proxies, canvas=detector.canvas, splits=("val",), count=BLOCK)
        found = joined(map(detector.maps, blocks), count, pixels=detector.score.similar > 0)
        standardiser, maps = Standardiser.fit(found, detector.score, keep=keep)
        return cls(detector, standardiser, tuple(map(str, found.images.images["image_id"]))), maps

    def score(self, tiles: TileSet) -> Scored:
        """Score the images of ``tiles``."""
        return self.standardised(self.detector.maps(tiles))

    def standardised(self, found: PixelMaps) -> Scored:
        """Scores of maps that the detector has made."""
        maps = self.standardise.maps(found)
        return Scored(found, maps, self.standardise.z(self.standardise.scores(found.images, maps)))

    def normal_scores(self) -> dict[str, float]:
        """Image id → score of each validation normal, standardised by the others."""
        return dict(zip(self.image_ids, self.standardise.z(self.standardise.raw).tolist(), strict=True))


Member = Mapping[str, CanvasScorer]
"""Canvas → scorer."""


def normal_scores(member: Member) -> dict[str, float]:
    """Image id → score of each validation normal, summed over canvases."""
    totals: dict[str, float] = {}
    for scorer in member.values():
        for image_id, score in scorer.normal_scores().items():
            totals[image_id] = totals.get(image_id, 0.0) + score
    return totals


def committee_score(
    weights: Mapping[str, float], members: Mapping[str, Member], scores: Mapping[str, Floats]
) -> Floats:
    """Scores (n,) of the committee: weighted sum of its members' in units of the sd of their validation normals."""
    found = []
    for name, weight in weights.items():
        normal = np.array(list(normal_scores(members[name]).values()), np.float32)
        found.append(weight * scoring.z_score(np.asarray(scores[name], np.float32), normal).astype(float))
    return np.asarray(np.sum(found, axis=0))


def fused_map(maps: Sequence[tuple[float, Array]]) -> Array:
    """Weighted mean (H, W) of standardised maps of one image, at the size of the largest: still in sd of normals."""
    shape, total = max(found.shape for _, found in maps), sum(weight for weight, _ in maps)
    parts = [enlarge(weight / total * found, shape) for weight, found in maps]
    return np.asarray(np.sum(parts, axis=0, dtype=np.float32))
