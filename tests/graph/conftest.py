"""Settings of an empty home, without variables of the caller."""

import os

import pytest

from pipeline.wiring.settings import Settings


@pytest.fixture
def settings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("PROXYANO_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path))
    return Settings
