"""Fixtures of the tests of problem files: the folder beside the checkout, and a small IDRiD."""

import os
from pathlib import Path

import pytest

from tests.unit.problem_folders import MASKS, PART_A, PART_B, grades, picture, put, spot


@pytest.fixture(scope="session")
def problems() -> Path:
    """The folder of problem files, which lies beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "problems"
    folder = Path(os.environ.get("PROXYANO_PROBLEMS", beside))
    if not folder.is_dir():
        pytest.skip(f"no problem files at {folder}: set PROXYANO_PROBLEMS to their folder")
    return folder


@pytest.fixture
def idrid(tmp_path: Path) -> Path:
    """Eight normals with labels and two annotated images."""
    root = tmp_path / "idrid"
    for i in range(8):
        put(root, f"{PART_B}/IDRiD_{100 + i}.jpg", picture(i))
    grades(root, [f"IDRiD_{100 + i},0" for i in range(8)])
    for i in (1, 2):
        put(root, f"{PART_A}/IDRiD_0{i}.jpg", picture(50 + i))
        put(root, f"{MASKS}/1. Microaneurysms/IDRiD_0{i}_MA.tif", spot())
    return root
