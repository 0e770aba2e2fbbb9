"""A detector as the evaluation measures it: which of its scores and maps are shown."""

from dataclasses import dataclass

import numpy as np

from models.scoring import Array, worst_mean
from pipeline.detectors.contract import CanvasDetector, PixelMaps
from pipeline.detectors.network import NetworkMaps
from pipeline.detectors.standardise import CanvasScorer
from pipeline.evaluation import nulls
from pipeline.evaluation.score_name import METHOD, NULL, PRIMARY, ScoreName


@dataclass
class Entry:
    """One detector on one canvas, and which of its scores are shown."""

    name: ScoreName
    detector: CanvasDetector
    scorer: CanvasScorer | None  # None: only measured raw
    raw_map: str = ""  # score whose maps are the raw values; empty: none
    copies: bool = True  # whether copies with pasted lesions are scored

    @property
    def measured(self) -> bool:
        """Whether it has raw scores, which validation normals are measured for as well."""
        return self.scorer is None or self.name.kind in (METHOD, NULL)

    def raw_scores(self, found: PixelMaps) -> dict[str, Array]:
        """Raw image scores (n,): the paper's (Eq. 13, Table V) and the worst |I − Î| of a network, a mean otherwise."""
        scored = found.images.scored
        if isinstance(found, NetworkMaps) and self.name.kind == METHOD and self.name.score == PRIMARY:
            worst = worst_mean(np.abs(found.residual), scored, self.detector.score)
            return {"latent": found.latent, "image": found.image, "worst": worst}
        if self.name.kind == NULL and found.residual is not None:
            return {"image": nulls.root_mean_square(found.residual, scored)}
        if self.scorer is None:
            pairs = zip(found.parts, scored, strict=True)
            return {"mean": np.array([float(one.mean(where=mask[None])) for one, mask in pairs], np.float32)}
        return {}

    def raw_maps(self, found: PixelMaps) -> Array:
        """Raw values (n, H, W): |I − Î| (Eq. 14), or the largest part of a control."""
        if self.name.kind in (METHOD, NULL) and found.residual is not None:
            return np.abs(found.residual)
        largest: Array = found.parts.max(axis=1)
        return largest
