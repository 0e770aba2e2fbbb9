"""Settings from the variables users know."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.wiring.settings import Settings

VARIABLES = (
    "PROXYANO_HOME",
    "PROXYANO_RAW",
    "PROXYANO_PRESET",
    "PROXYANO_PROTOCOL",
    "PROXYANO_FUNDUS_RGB",
    "PROXYANO_SEED",
    "PROXYANO_MLFLOW_URL",
    "MLFLOW_TRACKING_URI",
    "DASK_SCHEDULER_ADDRESS",
    "PROXYANO_DEVICES",
    "PROXYANO_LAUNCHER",
    "PROXYANO_MEMORY_GB",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No variable set, in an empty folder."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_nothing_set_is_the_sample_below_the_working_folder():
    found = Settings()
    here = Path.cwd() / ".proxyano"
    assert found.home == here
    assert found.raw is None
    assert found.raw_root == here / "sample"
    assert found.preset_name == "sample"
    assert found.seed == 0
    assert found.stores == here / "stores"
    assert found.tracking_uri == f"sqlite:///{here}/mlflow.db"
    assert found.scheduler is None


def test_own_data_means_quick_unless_a_preset_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PROXYANO_RAW", "data/../data")
    assert Settings().raw_root == tmp_path / "data"
    assert Settings().preset_name == "quick"
    assert Settings().raw_url == ""
    monkeypatch.setenv("PROXYANO_RAW", "s3://bucket/raw/")
    assert Settings().raw_url == "s3://bucket/raw"
    assert Settings().raw_root == Settings().home / "raw-from-bucket"
    assert Settings().preset_name == "quick"
    monkeypatch.setenv("PROXYANO_PRESET", "paper")
    assert Settings().preset_name == "paper"


def test_every_place_has_its_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    monkeypatch.setenv("PROXYANO_MLFLOW_URL", "http://pages:5001")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://scheduler:8786")
    monkeypatch.setenv("PROXYANO_SEED", "3")
    found = Settings()
    assert (found.home, found.tracking_uri) == (tmp_path / "home", "http://tracking:5000")
    assert (found.mlflow_page, found.scheduler, found.seed) == ("http://pages:5001", "tcp://scheduler:8786", 3)


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_counts_as_unset(monkeypatch, name):
    expected = Settings()
    monkeypatch.setenv(name, "")
    assert Settings() == expected


def test_settings_are_frozen_and_checked(monkeypatch):
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 4
    monkeypatch.setenv("PROXYANO_SEED", "-1")
    with pytest.raises(ValidationError, match="PROXYANO_SEED"):
        Settings()


def test_every_variable_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text()
    names = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert sorted(name for name in names if f"`{name}`" not in page) == []


def test_the_home_of_another_seed_has_its_own_bucket_prefix_and_database(monkeypatch, tmp_path):
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path))
    monkeypatch.setenv("PROXYANO_STORE", "s3://bucket/lab/")
    monkeypatch.setenv("PROXYANO_DATABASE", "postgresql+psycopg2://user:secret@host/dagster")
    settings = Settings()
    other = settings.of_run(tmp_path / "seeds" / "seed1-split0", 1, 0)
    assert other["PROXYANO_STORE"] == "s3://bucket/lab/seeds/seed1-split0"
    assert other["PROXYANO_DATABASE"] == ""
    assert other["PROXYANO_SEED"] == "1"
    assert not {"PROXYANO_STORE", "PROXYANO_DATABASE"} & settings.of_run(tmp_path, 0, 0).keys()
