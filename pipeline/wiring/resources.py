"""Dagster resources: raw folders, the store and its IO manager, the run tracker, the folder of reports."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from pipeline.data.datasets import DATASETS
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.data.sample.files import write_sample
from pipeline.data.user_datasets.dataset import Own, link
from pipeline.errors import DatasetUnusable, NeverMaterialized, StoreCorrupt
from pipeline.store.versions import Store, Version
from pipeline.wiring.runs import claim, one_sentence
from pipeline.wiring.settings import Settings, open_store

if TYPE_CHECKING:
    from pipeline.wiring.tracking import Tracker


class VersionIOManager(dg.ConfigurableIOManager):
    """Outputs and inputs are ``Version`` objects; the arrays themselves stay in the store."""

    root: str
    remote: str = ""
    cache_gb: float | None = None

    def handle_output(self, context: dg.OutputContext, obj: Version) -> None:
        """Make the published version the current one."""
        expected = _stored(context)
        if obj.asset != expected:
            raise dg.DagsterInvariantViolationError(f"{expected} handed over a version of {obj.asset}")
        open_store(Path(self.root), self.remote, self.cache_gb).point(obj)

    def load_input(self, context: dg.InputContext) -> Version:
        """The current version of the upstream asset; if none is whole, one sentence says what to run."""
        try:
            return open_store(Path(self.root), self.remote, self.cache_gb).current(_stored(context))
        except (NeverMaterialized, StoreCorrupt) as error:
            raise one_sentence(str(error)) from None


def _stored(context: dg.OutputContext | dg.InputContext) -> str:
    asset = context.asset_key.to_user_string()
    return f"{asset}/{context.asset_partition_key}" if context.has_asset_partitions else asset


DATA_VERSION = "dagster/data_version"  # Dagster's tag for the data version of an event


class RawResource(dg.ConfigurableResource):
    """The raw files of every data set.

    Without PROXYANO_RAW the built-in sample is written first; files of a bucket are fetched.
    """

    root: str
    url: str = ""  # of a bucket
    sample: bool
    cache: str
    own_root: str = ""
    own: dict[str, dict[str, str]] = Field(default_factory=dict)  # the user's data set → link → folder

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Observe the raw folders before the run reads them, so that its results are not stale from the start."""
        if context.instance is not None:
            selected = None if context.run is None else context.run.asset_selection
            observe(context.instance, self, selected)

    def folder(self, dataset: str) -> RawFolder:
        """The raw files of one data set, with the content of archives."""
        if dataset in self.own:
            links = link(Path(self.own_root) / dataset, {name: Path(to) for name, to in self.own[dataset].items()})
            return RawFolder(links, cache=Path(self.cache) / "archives")
        if self.sample:
            write_sample(Path(self.root))
        elif self.url:
            from pipeline.data.bucket import mirror  # imports the client of object stores

            mirror(f"{self.url}/{dataset}", Path(self.root) / dataset)
        return RawFolder(Path(self.root) / dataset, cache=Path(self.cache) / "archives")

    def fingerprint(self, dataset: str) -> str:
        """Hash of all names and contents of a data set's raw files; ``DatasetUnusable`` if there is no folder."""
        return fingerprint(self.folder(dataset), Path(self.cache))


def observations(
    instance: dg.DagsterInstance, raw: RawResource, selected: Collection[dg.AssetKey] | None = None
) -> list[dg.AssetObservation]:
    """Observations of the raw folders whose content has changed since the last observation.

    Where only assets of some data sets are ``selected``, the others are left alone, and no sample is drawn for them.
    """
    found, known = [], (*DATASETS, *raw.own)
    asked = {key.path[0] for key in selected} if selected else set(known)
    for name in known if asked - set(known) else [name for name in known if name in asked]:
        key = dg.AssetKey([name, "download"])
        try:
            seen = raw.fingerprint(name)
        except (DatasetUnusable, OSError):  # no such folder: the lane's run reports what was expected where
            continue
        last = instance.fetch_observations(key, limit=1).records
        if not last or last[0].asset_observation is None or last[0].asset_observation.data_version != seen:
            found.append(dg.AssetObservation(key, tags={DATA_VERSION: seen}))
    return found


def observe(instance: dg.DagsterInstance, raw: RawResource, selected: Collection[dg.AssetKey] | None = None) -> None:
    """Record the ``observations``."""
    for observation in observations(instance, raw, selected):
        instance.report_runless_asset_event(observation)


class ReportResource(dg.ConfigurableResource):
    """The folder with the newest reports, at paths that stay."""

    folder: str


class StoreResource(dg.ConfigurableResource):
    """The store of published versions."""

    root: str
    remote: str = ""  # URL of a bucket
    cache_gb: float | None = None

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Tag the run with its process; every run uses the store."""
        if context.instance is not None and context.run is not None:
            claim(context.instance, context.run.run_id)

    def open(self) -> Store:
        """The store below ``root``, shared through ``remote``."""
        return open_store(Path(self.root), self.remote, self.cache_gb)


class TrackerResource(dg.ConfigurableResource):
    """The MLflow store."""

    uri: str
    page: str
    artifacts: str
    _tracker: Any = PrivateAttr(default=None)

    def open(self) -> "Tracker":
        """The tracker of this process."""
        from pipeline.wiring.tracking import Tracker  # MLflow takes most of a second to import

        if self._tracker is None:
            self._tracker = Tracker(uri=self.uri, page=self.page, artifacts=Path(self.artifacts))
        tracker: Tracker = self._tracker
        return tracker


def resources(settings: Settings, own: Sequence[Own] = ()) -> dict[str, object]:
    """Resources by name."""
    place: dict[str, Any] = {"root": str(settings.stores), "remote": settings.remote, "cache_gb": settings.cache_gb}
    return {
        "raw": RawResource(
            root=str(settings.raw_root),
            url=settings.raw_url,
            sample=settings.raw is None,
            cache=str(settings.home / "fingerprints"),
            own_root=str(settings.datasets),
            own={one.name: {root.link: str(root.folder) for root in one.roots} for one in own},
        ),
        "reports": ReportResource(folder=str(settings.home / "reports")),
        "store": StoreResource(**place),
        "tracker": TrackerResource(
            uri=dg.EnvVar("MLFLOW_TRACKING_URI") if settings.mlflow_uri else settings.tracking_uri,  # hides a password
            page=settings.mlflow_page,
            artifacts=str(settings.home / "mlruns"),
        ),
        "versions": VersionIOManager(**place),
    }
