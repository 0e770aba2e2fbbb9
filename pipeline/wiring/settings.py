"""Folders, preset and options, from environment variables."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import ConfigError
from pipeline.store.versions import Store

Resolved = Annotated[Path, AfterValidator(Path.resolve)]
"""A path that is made absolute."""
Place = Annotated[str, AfterValidator(lambda place: place if "://" in place else str(Path(place).resolve()))]
"""A URL, or a path that is made absolute."""


class Settings(BaseSettings):
    """Settings from the environment; an empty variable counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="ignore")

    home: Resolved = Field(default=Path(".proxyano"), validation_alias="PROXYANO_HOME", validate_default=True)
    remote: str = Field(default="", validation_alias="PROXYANO_STORE")  # URL of a bucket; empty: this disk alone
    cache_gb: float | None = Field(default=None, gt=0, validation_alias="PROXYANO_CACHE_GB")  # None: no limit
    raw: Place | None = Field(default=None, validation_alias="PROXYANO_RAW")  # None: the generated sample
    preset: str | None = Field(default=None, validation_alias="PROXYANO_PRESET")  # None: see preset_name
    protocol: Literal["leak_free", "paper_random"] = Field(default="leak_free", validation_alias="PROXYANO_PROTOCOL")
    split_seed: int = Field(default=0, ge=0, validation_alias="PROXYANO_SPLIT_SEED")
    rgb: bool = Field(default=False, validation_alias="PROXYANO_FUNDUS_RGB")  # colour tiles for fundus images
    pretrained: bool = Field(default=False, validation_alias="PROXYANO_PRETRAINED")  # members with ImageNet weights
    seed: int = Field(default=0, ge=0, validation_alias="PROXYANO_SEED")
    executor: str = Field(default="in_process", validation_alias="PROXYANO_EXECUTOR")  # key of wiring.executors
    database: str | None = Field(default=None, validation_alias="PROXYANO_DATABASE", repr=False)  # Dagster's; password
    mlflow_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI", repr=False)
    mlflow_page: str = Field(default="http://127.0.0.1:5000", validation_alias="PROXYANO_MLFLOW_URL")
    scheduler: str | None = Field(default=None, validation_alias="DASK_SCHEDULER_ADDRESS")
    devices: str = Field(default="1", pattern=r"^(auto|[1-9]\d*)$", validation_alias="PROXYANO_DEVICES")
    memory: float | None = Field(default=None, gt=0, validation_alias="PROXYANO_MEMORY_GB")  # for training data
    launcher: str = Field(default="", validation_alias="PROXYANO_LAUNCHER")  # starts the processes of a training

    @property
    def stores(self) -> Path:
        """Published versions and work in progress."""
        return self.home / "stores"

    @property
    def store(self) -> Store:
        """The store, with the bucket of PROXYANO_STORE if one is set."""
        return open_store(self.stores, self.remote, self.cache_gb)

    def of_run(self, home: Path, seed: int, split: int) -> dict[str, str]:
        """Variables of a process that works in the home of a seed and a split's seed.

        Bucket and database hold one current version of an asset: another home has a prefix of its own, and SQLite.
        """
        changed = {"PROXYANO_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
        changed |= {"PROXYANO_SEED": str(seed), "PROXYANO_SPLIT_SEED": str(split)}
        if self.remote and home != self.home:
            changed["PROXYANO_STORE"] = f"{self.remote.rstrip('/')}/seeds/{home.name}"
        if self.database and home != self.home:
            changed["PROXYANO_DATABASE"] = ""
        return changed

    @property
    def datasets(self) -> Path:
        """Descriptions of the user's data sets, a YAML file each."""
        return self.home / "datasets"

    @property
    def raw_root(self) -> Path:
        """Folder with ``oct/``, ``idrid/`` and ``brain_mri/``; the generated sample if none is set.

        Of a bucket, the folder in the home that holds its files.
        """
        if self.raw is None:
            return self.home / "sample"
        return self.home / "raw-from-bucket" if self.raw_url else Path(self.raw)

    @property
    def raw_url(self) -> str:
        """URL of the raw files where they lie in a bucket; else empty."""
        return self.raw.rstrip("/") if self.raw and "://" in self.raw else ""

    @property
    def preset_name(self) -> str:
        """The current preset; the default is ``sample`` on the generated sample and ``quick`` on real data."""
        return self.preset or ("sample" if self.raw is None else "quick")

    @property
    def own_preset_name(self) -> str:
        """The preset of the user's data sets: their images are real, so the default is ``quick``."""
        return self.preset or "quick"

    @property
    def presets(self) -> str:
        """The presets as commands show them."""
        own = self.own_preset_name
        return self.preset_name if own == self.preset_name else f"{self.preset_name} (own data: {own})"

    @property
    def tracking_uri(self) -> str:
        """MLflow's store; the default is an SQLite file in the home."""
        return self.mlflow_uri or f"sqlite:///{self.home / 'mlflow.db'}"


def without_password(address: str) -> str:
    """An address as messages may show it: ``postgresql://user:***@host/name``."""
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", address)


def open_store(root: Path, remote: str, cache_gb: float | None) -> Store:
    """The store in a folder, shared through the bucket at the URL ``remote`` if there is one."""
    if not remote:
        return Store(root)
    try:
        from pipeline.store.shared import SharedStore  # imports the client of object stores
    except ModuleNotFoundError as error:
        told = "PROXYANO_STORE needs the package obstore; run: pip install 'proxyano[bucket]'"
        raise ConfigError(told) from error
    return SharedStore(root, remote, most=None if cache_gb is None else cache_gb * 1e9)
