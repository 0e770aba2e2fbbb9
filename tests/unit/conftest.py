"""Fixtures of the tests of problem files (the folder beside the checkout, a small IDRiD), and an S3 server."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.object_server import BUCKET, serving, variables
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


@pytest.fixture(scope="session")
def object_server() -> Iterator[int]:
    """Port of an S3 server."""
    pytest.importorskip("moto", reason="no S3 server: pip install 'proxyano[dev]'")
    pytest.importorskip("obstore", reason="no client of object stores: pip install 'proxyano[bucket]'")
    with serving() as port:
        yield port


@pytest.fixture
def url(object_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix of its bucket for each test alone; the variables by which it is found are set."""
    from pipeline.store import cache

    for name, value in variables(object_server).items():
        monkeypatch.setenv(name, value)
    yield f"s3://{BUCKET}/{uuid4().hex}"
    cache.keep([])
