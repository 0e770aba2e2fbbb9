"""Small raw folders in IDRiD's layout, for tests of folders, labels and archives."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.data.datasets import DATASETS
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.sample.files import jpeg, tiff
from pipeline.data.splits import ImagesConfig

SHAPE = (48, 64)
LABELS = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
PART_A = "A. Segmentation/1. Original Images/a. Training Set"
PART_B = "B. Disease Grading/1. Original Images/a. Training Set"
MASKS = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"


def picture(seed: int) -> bytes:
    return jpeg(np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8))


def spot(row: int = 3) -> bytes:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + 4, 4:9] = True
    return tiff(mask)


def put(root: Path, name: str, data: bytes) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)
    return root / name


def grades(root: Path, lines: list[str], header: str = "Image name,Retinopathy grade", name: str = LABELS) -> None:
    put(root, name, "\r\n".join([header, *lines, ""]).encode())


def manifest(root: Path, dataset: str = "idrid") -> tuple[pd.DataFrame, dict[str, str], dict]:
    images, quarantine, counts = make_manifest(RawFolder(root), DATASETS[dataset], ImagesConfig())
    return images, dict(zip(quarantine["path"], quarantine["reason"], strict=True)), counts
