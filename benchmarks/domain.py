"""How well a detector knows what it was made for: the share of images out of domain, its own and foreign ones.

    PROXYANO_RAW=… python -m benchmarks.domain

For every data set with a detector: its test normals, its abnormal test images by class, images of the other data sets,
and drawn pictures (noise, a ramp, clouds). "refused" are those that the canonical form does not take: they get no score
at all. Distances are in units of the farthest validation normal's; the limit is `LIMIT`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from pipeline import load_detector
from pipeline.data.decode import read_frames
from pipeline.detectors.frozen.calibration import LIMIT
from pipeline.detectors.frozen.detector import Detector
from pipeline.errors import UnusableImage
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

MOST = 60  # images of a class
DATASETS = ("brain_mri", "oct", "idrid")


def distances(detector: Detector, images: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Distances of the images that the form takes, and how many it refuses."""
    cut, refused = [], 0
    for pixels in images:
        try:
            cut.append((pixels, detector.cut(pixels)))
        except UnusableImage:
            refused += 1
    found = [
        finding.distance
        for start in range(0, len(cut), 16)
        for finding in detector.score_tiles(cut[start : start + 16])
    ]
    return np.array(found), refused


def drawn() -> list[np.ndarray]:
    """Pictures that are no medical images."""
    rng = np.random.default_rng(0)
    clouds = ndimage.gaussian_filter(rng.normal(size=(300, 400)), 12)
    clouds = np.uint8(255 * (clouds - clouds.min()) / np.ptp(clouds))
    board = np.uint8(255 * (np.add.outer(np.arange(300) // 25, np.arange(400) // 25) % 2))
    ramp = np.uint8(np.tile(np.linspace(0, 255, 400), (300, 1)))
    return [
        rng.integers(0, 256, (300, 400), dtype=np.uint8),
        rng.integers(0, 256, (300, 400, 3), dtype=np.uint8),
        clouds,
        board,
        ramp,
    ]


def images(store: Store, raw: Path, name: str) -> dict[str, list[np.ndarray]]:
    """At most ``MOST`` test images of each class, evenly spaced in the order of their paths."""
    table = pd.read_parquet(store.current(f"{name}/images").path / "images.parquet")
    chosen = {}
    for klass, rows in table[table["split"].isin(["test", "holdout"])].sort_values("path").groupby("klass"):
        places = np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int))
        frames = (next(read_frames(raw / name / path)) for path in rows["path"].iloc[places])
        chosen[str(klass)] = [frame.pixels for frame in frames if frame.pixels is not None]
    return chosen


def main() -> None:
    """Print the table."""
    settings = Settings()
    store = Store(settings.stores)
    every = {name: images(store, settings.raw_root, name) for name in DATASETS if store.pointed(f"{name}/images")}
    rows = []
    for name in (name for name in every if store.pointed(f"{name}/detector")):
        detector = load_detector(name)
        asked = {f"own: {klass}": found for klass, found in every[name].items()}
        asked |= {
            other: [one for found in classes.values() for one in found]
            for other, classes in every.items()
            if other != name
        }
        for label, found in (asked | {"drawn": drawn()}).items():
            away, refused = distances(detector, found)
            row = {
                "detector": name,
                "images": label,
                "n": len(found),
                "refused": refused,
                "out": int((away > LIMIT).sum()),
            }
            row |= {
                f"{share:.0%}": round(float(np.quantile(away, share, method="nearest")), 2) if len(away) else None
                for share in (0, 0.05, 0.5, 0.95, 1)
            }
            rows.append(row | {"scored": int((away <= LIMIT).sum())})
            print(rows[-1], flush=True)
    print(f"\nlimit {LIMIT}\n")
    print(pd.DataFrame(rows).to_markdown(index=False))


if __name__ == "__main__":
    main()
