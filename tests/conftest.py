"""What tests share: where the real data lies, one thread a test, and which of two workers runs what."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from models.arithmetic import set_environment

set_environment()

import torch  # noqa: E402 - after the variables that it reads

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


COPY = "copy of the sample"
ON_A_COPY = ("test_benchmark.py", "test_dagster_pages.py", "test_experiments.py")
"""Files that only read the made sample and change a copy: another worker may run them, as both then take as long."""


LONGEST_FIRST = ("sample", "tests/contract/test_methods.py", COPY)
"""Scopes in the order in which workers take them, before all others: none is left for the end, when a worker idles."""


@cache
def scope(file: str) -> str:
    """What one worker runs as a whole: a file, or the files that use the made sample in place."""
    if "undisturbed" not in (PROJECT / file).read_text():
        return file
    return COPY if Path(file).name in ON_A_COPY else "sample"


class BySample(LoadScopeScheduling):
    """One worker makes the sample and runs the files that use it in place; others go file by file."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid.partition("::")[0])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest scopes first, and in them what needs the made sample; otherwise the random order stays."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> tuple[int, bool]:
        found = places.get(scope(item.nodeid.partition("::")[0]), len(places))
        return found, found < len(places) and "undisturbed" not in item.fixturenames  # type: ignore[attr-defined]

    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """What ``pytest -n 2`` uses; without workers nobody asks."""
    config.option.loadscopereorder = False
    return BySample(config, log)
