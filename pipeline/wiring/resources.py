"""Resources that the assets ask for by name: raw folders, the store, the run tracker."""

from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from pipeline.steps.raw import RawFolder
from pipeline.steps.sample import write_sample
from pipeline.steps.store import Store
from pipeline.wiring.io_manager import VersionIOManager
from pipeline.wiring.settings import Settings
from pipeline.wiring.tracking import Tracker


class RawResource(dg.ConfigurableResource):
    """The folder with the downloads; where none is set, the built-in sample is written there first."""

    root: str
    sample: bool
    cache: str

    def folder(self, dataset: str) -> RawFolder:
        """The raw files of one data set, archives included."""
        if self.sample:
            write_sample(Path(self.root))
        return RawFolder(Path(self.root) / dataset, cache=self.cache_folder() / "archives")

    def cache_folder(self) -> Path:
        """Where content hashes of raw files are remembered."""
        return Path(self.cache)


class ReportResource(dg.ConfigurableResource):
    """Where reports stand for people to open and bookmark."""

    folder: str


class StoreResource(dg.ConfigurableResource):
    """Published versions of every asset."""

    root: str

    def open(self) -> Store:
        """The store below ``root``."""
        return Store(Path(self.root))


class TrackerResource(dg.ConfigurableResource):
    """The MLflow store."""

    uri: str
    page: str
    artifacts: str
    _tracker: Tracker | None = PrivateAttr(default=None)

    def open(self) -> Tracker:
        """One tracker a process."""
        if self._tracker is None:
            self._tracker = Tracker(uri=self.uri, page=self.page, artifacts=Path(self.artifacts))
        return self._tracker


def resources(settings: Settings) -> dict[str, object]:
    """Resources by the names under which assets ask for them."""
    return {
        "raw": RawResource(
            root=str(settings.raw_root), sample=settings.raw is None, cache=str(settings.home / "fingerprints")
        ),
        "reports": ReportResource(folder=str(settings.home / "reports")),
        "store": StoreResource(root=str(settings.stores)),
        "tracker": TrackerResource(
            uri=settings.tracking_uri, page=settings.mlflow_page, artifacts=str(settings.home / "mlruns")
        ),
        "versions": VersionIOManager(root=str(settings.stores)),
    }
