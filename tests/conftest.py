"""What tests share: where the real data lies, and one thread a test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_raw() -> Path:
    """Folder with real files of the three data sets in their official layouts."""
    folder = Path(os.environ.get("PROXYANO_TEST_RAW", PROJECT.parent / "shared" / "raw"))
    if not (folder / "oct").is_dir():
        pytest.skip(f"no real data at {folder}: set PROXYANO_TEST_RAW to a folder with oct/, idrid/, brain_mri/")
    return folder


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tiny networks wait far longer for a second thread on a busy machine than they gain from it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
