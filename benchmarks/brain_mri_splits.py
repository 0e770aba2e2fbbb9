"""The brain MRI controls over four group splits: how far one split's luck reaches.

    PROXYANO_RAW=… python -m benchmarks.brain_mri_splits

One split has some seventy normal test groups, so a control moves by a hundredth or two with the split seed alone. The
tiles must have been made (`dagster asset materialize --select '*brain_mri/tiles'`); only the splits change.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from models.metrics import auroc
from pipeline.experiments.presets import MRI_CONTROLS
from pipeline.steps.controls.registry import CONTROLS, RAW, Control
from pipeline.steps.datasets import DATASETS
from pipeline.steps.manifest import make_manifest
from pipeline.steps.raw import RawFolder
from pipeline.steps.scorers import CanvasImages, canvas_images, score_canvas
from pipeline.steps.splits import SPLITS, UNUSED, ImagesConfig
from pipeline.steps.store import Store
from pipeline.wiring.settings import Settings

SEEDS = range(4)


def resplit(every: CanvasImages, splits: Mapping[str, str], groups: Mapping[str, str]) -> CanvasImages:
    """The same canvases with the splits and groups of another seed."""
    names = every.images["image_id"]
    images = every.images.assign(split=names.map(splits), group=names.map(groups))
    return CanvasImages(images, every.pixels, every.proxies, every.validity)


def part(every: CanvasImages, splits: list[str]) -> CanvasImages:
    """The images of some splits."""
    rows = np.flatnonzero(every.images["split"].isin(splits).to_numpy())
    images = every.images.iloc[rows].reset_index(drop=True)
    return CanvasImages(images, every.pixels[rows], None, every.validity[rows])


def measure(every: CanvasImages, control: Control) -> float:
    """AUROC of one control on the test images of a split."""
    train, images = part(every, ["train"]), part(every, ["val", "holdout", "test"])
    scores = score_canvas(images, CONTROLS[control.name](train, images, control), control.score).image()
    test = (images.images["split"] == "test").to_numpy()
    return auroc(images.images["label"].to_numpy()[test], scores[test])


def main() -> None:
    """Print a row a control: AUROC of each split seed, mean and sd."""
    settings = Settings()
    tiles = Store(settings.stores).current("brain_mri/tiles")
    every = canvas_images(tiles, None, canvas="head", splits=[*SPLITS, UNUSED], size=(64, 64))
    raw = RawFolder(settings.raw_root / "brain_mri")
    controls = [control for control in MRI_CONTROLS if control.name not in RAW]
    found: dict[str, list[float]] = {control.name: [] for control in controls}
    for seed in SEEDS:
        manifest, _, _ = make_manifest(raw, DATASETS["brain_mri"], ImagesConfig(split_seed=seed))
        table = manifest.set_index("image_id")
        split = resplit(every, table["split"].to_dict(), table["group"].to_dict())
        for control in controls:
            found[control.name].append(measure(split, control))
    rows = pd.DataFrame(found, index=[f"seed {seed}" for seed in SEEDS]).T
    rows["mean"], rows["sd"] = rows.mean(axis=1), rows.std(axis=1, ddof=1)
    print(f"tiles {tiles.data_version}")
    print(rows.round(4).to_markdown())


if __name__ == "__main__":
    main()
