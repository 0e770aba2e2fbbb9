"""What the paper reports for whole methods (Zhou et al., TMI 2022); its ablations are in ``ablations.paper``."""

from collections.abc import Mapping
from dataclasses import dataclass

TABLE_I: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "auto_encoder": {"brain_mri": (0.766, 0.714, 0.674), "oct": (0.783, 0.751, 0.669), "idrid": (0.609, 0.589, 0.542)},
    "memae": {"brain_mri": (0.848, 0.789, 0.722), "oct": (0.876, 0.838, 0.652), "idrid": (0.647, 0.592, 0.567)},
    "anogan": {"brain_mri": (0.803, 0.757, 0.691), "oct": (0.846, 0.789, 0.637), "idrid": (0.630, 0.618, 0.579)},
    "f_anogan": {"brain_mri": (0.822, 0.764, 0.675), "oct": (0.882, 0.808, 0.653), "idrid": (0.698, 0.686, 0.637)},
    "ganomaly": {"brain_mri": (0.832, 0.798, 0.667), "oct": (0.916, 0.826, 0.727), "idrid": (0.652, 0.633, 0.658)},
    "sparse_gan": {"brain_mri": (0.835, 0.791, 0.645), "oct": (0.925, 0.841, 0.714), "idrid": (0.663, 0.638, 0.651)},
    "pix2pix": {"brain_mri": (0.796, 0.737, 0.617), "oct": (0.861, 0.818, 0.702), "idrid": (0.632, 0.621, 0.603)},
    "cycle_gan": {"brain_mri": (0.808, 0.752, 0.712), "oct": (0.815, 0.762, 0.675), "idrid": (0.626, 0.613, 0.608)},
    "proxyano": {"brain_mri": (0.853, 0.805, 0.709), "oct": (0.933, 0.849, 0.725), "idrid": (0.701, 0.682, 0.649)},
}
"""Method → data set → (AUC, ACC, F1)."""

TABLE_II: Mapping[str, tuple[float, float, float]] = {
    "auto_encoder": (0.601, 0.898, 0.297),
    "f_anogan": (0.549, 0.922, 0.373),
    "ganomaly": (0.430, 0.834, 0.404),
    "sparse_gan": (0.576, 0.995, 0.419),
    "proxyano": (0.568, 1.003, 0.435),
}
"""Method → mean score of normal images, of abnormal images, and their gap, on OCT, each on its own scale."""

TABLE_V: Mapping[str, tuple[float, float]] = {"brain_mri": (0.807, 0.853), "oct": (0.916, 0.933)}
"""Data set → AUC of ProxyAno scored in image space and in latent space."""

LEVELS: Mapping[str, str] = {"brain_mri": "image", "oct": "image", "idrid": "pixel"}
"""Data set → what the paper judges."""


@dataclass(frozen=True, kw_only=True)
class PaperResult:
    """ProxyAno's result on one data set (Table I)."""

    level: str  # image or pixel
    auroc: float
    acc: float
    f1: float


PAPER: Mapping[str, PaperResult] = {
    dataset: PaperResult(level=LEVELS[dataset], auroc=auroc, acc=acc, f1=f1)
    for dataset, (auroc, acc, f1) in TABLE_I["proxyano"].items()
}
