"""What tests share: where the real data lies, one thread a test, and which of two workers runs what."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from models.arithmetic import set_environment

set_environment()

import torch  # noqa: E402 - after the variables that it reads

PROJECT = Path(__file__).resolve().parents[1]
settings.register_profile("any machine", deadline=None)  # a busy one may take any time
settings.load_profile("any machine")


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


SAMPLE = "sample"
IN_PLACE = (
    "test_documented_commands.py",
    "test_lineage_command.py",
    "test_main_lane.py",
    "test_results.py",
    "test_shell.py",
)
"""Files that use the made sample where it was made; all others may run on a worker that copies it."""
END_TO_END = "tests/end_to_end/"
LONGEST_FIRST = (
    SAMPLE,
    *(f"tests/contract/test_method_{name}.py" for name in ("training", "scores")),
    END_TO_END + "test_own_data.py",
    *(
        f"tests/unit/test_{name}.py"
        for name in (
            *(
                "ranks",
                "shared_store",
                "shared_builders",
                "shared_images",
                "robustness",
                "reproduce",
                "streaming",
                "detector_contract",
                "frozen_detector",
                "killed_stage",
                "increments",
                "trainer",
                "resume",
                "tiles",
            ),
            *("manifest", "tracking", "sample"),
        )
    ),
    END_TO_END + "test_documentation_site.py",
    END_TO_END + "test_refresh.py",
    END_TO_END + "test_postgres.py",
    END_TO_END + "test_shared_homes.py",
    END_TO_END + "test_moved_home.py",
    END_TO_END + "test_experiments.py",
    END_TO_END + "test_benchmark.py",
    END_TO_END + "test_killed_lane.py",
    END_TO_END + "test_dagster_pages.py",
    END_TO_END + "test_wheel.py",
    END_TO_END + "test_score.py",
    *(END_TO_END + f"report_page/test_page_{name}.py" for name in ("explores", "is_accessible")),
)
"""Scopes in the order in which workers take them, before all others.

While one worker makes the sample, the other has what does without; nothing long is left for the end, when one idles.
"""


def scope(file: str) -> str:
    """What one worker runs as a whole: a file, or the files that use the made sample in place."""
    return SAMPLE if Path(file).name in IN_PLACE else file


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
