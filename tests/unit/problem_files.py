"""Where the problem files lie, and what tests of them share. They stay outside the repository."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.decode import read_frames

PROBLEMS = Path(os.environ.get("PROXYANO_PROBLEMS", Path(__file__).resolve().parents[3] / "shared" / "problems"))
VALID, ODD, MUTATED = (PROBLEMS / name for name in ("valid_medical", "odd_images", "mutated_medical"))
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROBLEMS.is_dir(), reason=f"no problem files at {PROBLEMS}: set PROXYANO_PROBLEMS"),
    pytest.mark.filterwarnings("ignore"),  # damaged files warn before they are refused
]


def files(folder, pattern):
    """Names to parametrize over, and one that is skipped where the folder is absent."""
    return sorted(path.name for path in folder.glob(pattern)) or ["absent"]


def problem(name):
    """The file of that name in one of the numbered folders."""
    (path,) = PROBLEMS.glob(f"*/{name}")
    return path


def shown(path, number=0):
    """Pixels of a frame."""
    frames = list(read_frames(path))
    assert frames[number].pixels is not None, frames[number].reason
    return frames[number].pixels


def likeness(pixels, picture):
    """Correlation of an image's first channel with a picture of the same size."""
    gray = pixels[..., 0] if pixels.ndim == 3 else pixels
    return np.corrcoef(gray.ravel(), picture.ravel())[0, 1]


def the_picture():
    """What all of them show: (96, 80), values 5 to 250."""
    return np.load(VALID / "picture.npz")["picture"]
