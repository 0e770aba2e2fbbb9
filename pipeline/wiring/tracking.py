"""The run tracker on MLflow: a parent run for each lane, a nested run for each of its stages."""

import json
import logging
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NOTE,  # of experiments, too
    MLFLOW_SOURCE_NAME,
)

from models.arithmetic import machine
from pipeline.store.provenance import RawInput
from pipeline.store.versions import Version
from pipeline.wiring.moved import follow
from pipeline.wiring.origin import Origin
from pipeline.wiring.settings import Settings, without_password

logging.getLogger("alembic").setLevel(logging.WARNING)
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
SQLITE = "sqlite:///"
SHARED, VIEW = "mlflow.sharedViewState.", "lanes"
"""Tag and key of an experiment's view whose columns are ``COMPARED``."""
COMPARED = tuple(
    f"{level}_{figure}"
    for level in ("image", "pixel")
    for figure in ("auroc_standardised", "auroc_latent", "auroc_minus_null_standardised", "ap_standardised")
)
INPUT_TAG = "input."  # prefix of the tag ``input.<asset>``: the data version that a run read
Made = tuple[str, str]
"""Asset and data version."""
_LONGEST = 6000  # characters of a parameter's value, MLflow's limit


@dataclass
class StageRun:
    """A nested run, opened by its first metric or by its result, so that a version made earlier keeps its own run."""

    tracker: "Tracker"
    origin: Origin
    parameters: Mapping[str, Any]
    inputs: Collection[Version]
    started: int = field(default_factory=lambda: int(time.time() * 1000))  # ms since 1970
    run_id: str | None = None
    raw: RawInput | None = None  # the downloads it read, if any

    def open(self) -> str:
        """Id of the run; opens it with its parameters and inputs if it is not open yet."""
        if self.run_id is None:
            tags = {f"{INPUT_TAG}{version.asset}": version.data_version for version in self.inputs}
            if self.raw is not None:
                tags |= {"raw.root": self.raw.root, "raw.fingerprint": self.raw.fingerprint}
            self.run_id = self.tracker.create(self.origin, tags, self.started)
            parameters = [Param(key, str(value)[:_LONGEST]) for key, value in self.parameters.items()]
            self.tracker.client.log_batch(self.run_id, params=parameters)
            self.tracker.client.log_inputs(self.run_id, [_dataset(each, self.origin.stage) for each in self.inputs])
        return self.run_id

    def read_raw(self, root: Path, fingerprint: str) -> None:
        """Record which downloads the build reads, and their fingerprint."""
        self.raw = RawInput(dataset=self.origin.dataset, root=str(root), fingerprint=fingerprint)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers at an optimiser step."""
        self.tracker.client.log_batch(self.open(), metrics=_metrics(values, step))

    def result(self, version: Version, metrics: Mapping[str, float], artifact: str = "") -> str:
        """Tag the run with the version it made and return its id; for a version made earlier, the id of its own run.

        ``artifact`` is the run's folder for a copy of the version; empty: none.
        """
        if self.run_id is None:
            earlier = self.tracker.find(self.origin.dataset, version)
            if earlier is not None:
                return earlier
        self.metrics(0, metrics)
        if self.origin.stage == "evaluation":
            self.tracker.log_to_lane(self.origin, metrics)
        if artifact:
            self.tracker.client.log_artifacts(self.open(), str(version.path), artifact)
        self.tracker.client.set_tag(self.open(), "data_version", version.data_version)
        return self.open()


MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Tag by which MLflow's pages open runs, metrics and charts, and not the traces of agents."""
TRAINING_PAGES = "workflowType=machine_learning"
"""Query by which a page opens among those for model training."""
LANES = "A run is a lane with its results; its stages are nested below it. Runs of the preset `sample` are of drawings."
REPORTS = "Every run keeps its report page: Artifacts, report/index.html."


class Tracker:
    """Runs of one MLflow store; an experiment is a data set, so that its presets and methods can be compared."""

    def __init__(self, *, uri: str, page: str, artifacts: Path) -> None:
        self.uri, self.page, self.artifacts = uri, page.rstrip("/"), artifacts

    @cached_property
    def client(self) -> MlflowClient:
        """Created at first use, so that importing the definitions touches no database."""
        if self.uri.startswith(SQLITE):
            _create(Path(self.uri.removeprefix(SQLITE)))
            follow(Path(self.uri.removeprefix(SQLITE)), self.artifacts)
        elif self.uri.startswith("postgres"):
            _create_alone(self.uri)
        return MlflowClient(tracking_uri=self.uri)

    @contextmanager
    def stage(
        self, origin: Origin, *, parameters: Mapping[str, Any], inputs: Collection[Version]
    ) -> Iterator[StageRun]:
        """A run for one materialization: FINISHED at the end, FAILED if the body raises; closes runs left by a kill."""
        where = f"tags.`dagster.asset_key` = '{origin.asset}' and attributes.status = 'RUNNING'"
        for left in self._search(origin.dataset, where):  # by a kill
            if left.data.tags.get("dagster.run_id") != origin.dagster_run:
                self.client.set_terminated(left.info.run_id, "KILLED")
        run = StageRun(self, origin, parameters, inputs)
        try:
            yield run
        except BaseException:
            if run.run_id is not None:
                self.client.set_terminated(run.run_id, "FAILED")
            raise
        if run.run_id is not None:
            self.client.set_terminated(run.run_id, "FINISHED")

    def url(self, dataset: str, run_id: str, artifact: str = "") -> str:
        """Link to a run, or to one of its artifacts, in the MLflow pages for model training."""
        place = f"{run_id}/artifacts/{artifact}" if artifact else run_id
        return f"{self.page}/#/experiments/{self._experiment(dataset)}/runs/{place}?{TRAINING_PAGES}"

    def find(self, dataset: str, version: Version) -> str | None:
        """The newest run that made this version."""
        where = f"tags.`dagster.asset_key` = '{version.asset}' and tags.data_version = '{version.data_version}'"
        found = self._search(dataset, where)
        return found[0].info.run_id if found else None

    def made_by(self, run_id: str) -> list[Made]:
        """Versions that a run made, or for a lane's parent run those of its nested runs, newest first.

        Raises ``LookupError`` for an unknown run and for one that made nothing.
        """
        if not self._exists():
            raise LookupError(f"there is no MLflow run {run_id}: {self.uri} holds no run yet")
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            raise LookupError(f"there is no MLflow run {run_id} in {without_password(self.uri)}") from None
        nested = self.client.search_runs([run.info.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'")
        made = [_made(one) for one in (run, *nested)]
        if found := list(dict.fromkeys(one for one in made if one is not None)):
            return found
        raise LookupError(f"the MLflow run {run_id} made no version; it is {run.info.status}")

    def registered(self) -> set[Made]:
        """Versions behind all registered models: those their runs made and those their runs read."""
        if not self._exists():
            return set()
        found: set[Made] = set()
        token = None
        while token != "":
            page = self.client.search_model_versions(page_token=token)
            for run in [self.client.get_run(model.run_id) for model in page if model.run_id]:  # others are not ours
                tags, made = run.data.tags.items(), _made(run)
                found |= {(key.removeprefix(INPUT_TAG), value) for key, value in tags if key.startswith(INPUT_TAG)}
                found |= set() if made is None else {made}
            token = page.token or ""
        return found

    def _exists(self) -> bool:
        """False if the database does not exist; a query would create it."""
        return not self.uri.startswith(SQLITE) or Path(self.uri.removeprefix(SQLITE)).is_file()

    def create(self, origin: Origin, tags: Mapping[str, str], started: int) -> str:
        """Open a nested run below the lane's parent run and return its id."""
        about = {f"machine.{name}": value for name, value in machine().items()}
        about |= {MLFLOW_PARENT_RUN_ID: self._parent(origin)}
        name = f"{origin.entry or origin.stage} {origin.preset} seed {origin.seed}"
        return self._start(origin.dataset, name, {**origin.tags(), **about, **tags}, started)

    def log_to_lane(self, origin: Origin, metrics: Mapping[str, float]) -> None:
        """Show a lane's results on its parent run, where runs are compared, and end that run now."""
        parent = self._parent(origin)
        self.client.log_batch(parent, metrics=_metrics(metrics))
        self.client.set_terminated(parent, "FINISHED")  # again: its duration is then that of the lane
        shown = [f"metrics.`{name}`" for name in COMPARED if name in metrics]
        view = {"selectedColumns": ["attributes.`Duration`", *shown, "tags.`preset`", "tags.`seed`"]}
        self.client.set_experiment_tag(self._experiment(origin.dataset), SHARED + VIEW, json.dumps(view))

    def pages(self) -> dict[str, str]:
        """Experiment → path of MLflow's page that shows its runs side by side."""
        found = {}
        for one in self.client.search_experiments():
            view = f"&viewStateShareKey={VIEW}" if SHARED + VIEW in one.tags else ""
            found[str(one.name)] = f"/#/experiments/{one.experiment_id}/runs?{TRAINING_PAGES}{view}"
        return found

    def _parent(self, origin: Origin) -> str:
        """Id of the lane's parent run, which only groups its nested runs; created if there is none yet."""
        shared = ("refresh", origin.refresh) if origin.refresh else ("dagster.run_id", origin.dagster_run)
        found = self._search(origin.dataset, f"tags.lane = '{origin.dataset}' and tags.`{shared[0]}` = '{shared[1]}'")
        if found:
            return str(found[0].info.run_id)
        of_stage = ("stage", "dagster.asset_key", "code_version")
        tags = {name: value for name, value in origin.tags().items() if name not in of_stage}
        name = " ".join(filter(None, [origin.dataset, origin.entry, origin.preset, "seed", str(origin.seed)]))
        run_id = self._start(origin.dataset, name, {**tags, "lane": origin.dataset})
        self.client.set_terminated(run_id, "FINISHED")
        return run_id

    def _search(self, dataset: str, where: str) -> list[Run]:
        found = self.client.search_runs([self._experiment(dataset)], where, order_by=["attributes.start_time DESC"])
        return list(found)

    def _start(self, dataset: str, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        tags = {**tags, MLFLOW_SOURCE_NAME: "dagster"}
        run = self.client.create_run(self._experiment(dataset), run_name=name, start_time=started, tags=tags)
        return str(run.info.run_id)

    def _experiment(self, dataset: str) -> str:
        found = self.client.get_experiment_by_name(dataset)
        if found is not None:
            return str(found.experiment_id)
        tags = MODEL_TRAINING | {MLFLOW_RUN_NOTE: REPORTS if dataset == "reports" else LANES}
        if self.uri.startswith(("http://", "https://")):  # a server keeps artifacts where it was told to
            return str(self.client.create_experiment(dataset, tags=tags))
        self.artifacts.mkdir(parents=True, exist_ok=True)
        place = (self.artifacts / dataset).absolute().as_uri()
        return str(self.client.create_experiment(dataset, artifact_location=place, tags=tags))


def open_tracker(settings: Settings) -> Tracker:
    """The tracker of the user's settings."""
    return Tracker(uri=settings.tracking_uri, page=settings.mlflow_page, artifacts=settings.home / "mlruns")


def _metrics(values: Mapping[str, float], step: int = 0) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in values.items()]


def _dataset(version: Version, stage: str) -> DatasetInput:
    """A version as MLflow's data-set input, whose digest is the data version."""
    source = json.dumps({"uri": version.path.as_uri()})
    dataset = Dataset(name=version.asset, digest=version.data_version, source_type="local", source=source)
    return DatasetInput(dataset=dataset, tags=[InputTag(MLFLOW_DATASET_CONTEXT, stage)])


def _made(run: Run) -> Made | None:
    """The version that a run made; None for a parent run and for a failed run."""
    tags = run.data.tags
    return (tags["dagster.asset_key"], tags["data_version"]) if "data_version" in tags else None


def _create_alone(address: str) -> None:
    """Create MLflow's tables in PostgreSQL; other processes wait, as MLflow fails where two create them at once."""
    from sqlalchemy import NullPool, create_engine, text

    with create_engine(address, poolclass=NullPool).connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(hashtext('mlflow'))"))  # until the connection closes
        MlflowClient(tracking_uri=address).search_experiments(max_results=1)


def _create(database: Path) -> None:
    """Create MLflow's tables in a sibling file and link it into place: MLflow refuses a half-made database."""
    database.parent.mkdir(parents=True, exist_ok=True)
    if database.exists():
        return
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=f".{database.name}.") as folder:
        draft = Path(folder) / database.name
        MlflowClient(tracking_uri=f"{SQLITE}{draft}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another process was first
            os.link(draft, database)
