"""What tests share: where the real data lies, and one small lane made once."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_raw() -> Path:
    """Folder with real files of the three data sets in their official layouts."""
    folder = Path(os.environ.get("PROXYANO_TEST_RAW", PROJECT.parent / "shared" / "raw"))
    if not (folder / "oct").is_dir():
        pytest.skip(f"no real data at {folder}: set PROXYANO_TEST_RAW to a folder with oct/, idrid/, brain_mri/")
    return folder
