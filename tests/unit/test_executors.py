"""``PROXYANO_EXECUTOR``: Dagster's executors by name, and errors that say what to install."""

import sys

import dagster as dg
import pytest

from pipeline.errors import ConfigError
from pipeline.wiring.executors import EXECUTORS, executor


def test_dagsters_own_executors_need_nothing_more():
    assert executor("in_process") is dg.in_process_executor
    assert executor("multiprocess").name == "multiprocess"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"PROXYANO_EXECUTOR: expected one of in_process, multiprocess, .* got 'threads'"
    ):
        executor("threads")


@pytest.mark.parametrize("name", ["dask", "docker", "k8s", "celery"])
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, EXECUTORS[name][0], None)  # as if it were not installed
    with pytest.raises(ConfigError, match=f"pip install dagster-{name}"):
        executor(name)
