"""The run tracker, and the only file that knows MLflow: one parent run a lane, a nested run for each of its stages."""

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
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME

from models.arithmetic import machine
from pipeline.store.provenance import RawOrigin
from pipeline.store.versions import Version
from pipeline.wiring.commit import git_commit

logging.getLogger("alembic").setLevel(logging.WARNING)
SQLITE = "sqlite:///"
INPUT_TAG = "input."
"""Tag ``input.<asset>`` of a run: the data version that it read."""
Made = tuple[str, str]
"""Asset and data version."""
_PARAMETERS_A_CALL = 100  # MLflow's limit of one log_batch


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a run comes from: the tags by which it is found again."""

    dataset: str  # MLflow experiment: a data set, or "reports"
    stage: str
    asset: str  # asset key as Dagster writes it
    dagster_run: str
    code_version: str
    preset: str
    seed: int
    method: str = ""  # key of METHODS; empty where nothing is learned
    entry: str = ""  # run of the benchmark
    refresh: str = ""  # shared by the Dagster runs of one refresh: they are one run of the lane

    def tags(self) -> dict[str, str]:
        """MLflow tags of the stage's run."""
        also = {"method": self.method, "entry": self.entry, "refresh": self.refresh}
        return {
            "dataset": self.dataset,
            "stage": self.stage,
            "preset": self.preset,
            "seed": str(self.seed),
            "dagster.run_id": self.dagster_run,
            "dagster.asset_key": self.asset,
            "code_version": self.code_version,
            MLFLOW_GIT_COMMIT: git_commit(),
        } | {name: value for name, value in also.items() if value}


@dataclass
class StageRun:
    """One nested run, opened by the first metric or by its result: a version made earlier keeps its own run."""

    tracker: "Tracker"
    origin: Origin
    parameters: Mapping[str, Any]
    inputs: Collection[Version]
    started: int = field(default_factory=lambda: int(time.time() * 1000))  # ms since 1970
    run_id: str | None = None
    kept: list[tuple[Path, str | None]] = field(default_factory=list)  # artifacts that wait for the run to open
    raw: RawOrigin | None = None  # the downloads it read, if any

    def open(self) -> str:
        """Id of the run, made now with its parameters and inputs where it was not yet."""
        if self.run_id is None:
            self.run_id = self.tracker.create(self.origin, self.started)
            self._log_parameters()
            self._log_inputs()
            for path, folder in self.kept:
                self.artifact(path, folder)
        return self.run_id

    def read_raw(self, root: Path, fingerprint: str) -> None:
        """Note which downloads the build reads, in the state that ``fingerprint`` stands for."""
        self.raw = RawOrigin(dataset=self.origin.dataset, root=str(root), fingerprint=fingerprint)

    def _log_parameters(self) -> None:
        pairs = [Param(key, str(value)[:6000]) for key, value in self.parameters.items()]
        for start in range(0, len(pairs), _PARAMETERS_A_CALL):
            self.tracker.client.log_batch(self.open(), params=pairs[start : start + _PARAMETERS_A_CALL])

    def _log_inputs(self) -> None:
        """Data-set inputs whose digest is the Dagster data version, the same as tags, and the downloads as tags."""
        tag = InputTag(MLFLOW_DATASET_CONTEXT, self.origin.stage)
        rows = [
            DatasetInput(
                dataset=Dataset(
                    name=version.asset,
                    digest=version.data_version,
                    source_type="local",
                    source=json.dumps({"uri": version.path.as_uri()}),
                ),
                tags=[tag],
            )
            for version in self.inputs
        ]
        if rows:
            self.tracker.client.log_inputs(self.open(), rows)
        tags = {f"{INPUT_TAG}{version.asset}": version.data_version for version in self.inputs}
        if self.raw is not None:
            tags |= {"raw.root": self.raw.root, "raw.fingerprint": self.raw.fingerprint}
        if tags:
            self.tracker.client.log_batch(self.open(), tags=[RunTag(key, value) for key, value in tags.items()])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log named numbers at an optimiser step."""
        now = int(time.time() * 1000)
        self.tracker.client.log_batch(self.open(), metrics=[Metric(k, float(v), now, step) for k, v in values.items()])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file or a folder with the run; it opens none, as a version made earlier keeps its own."""
        if self.run_id is None:
            self.kept.append((path, folder))
        elif path.is_dir():
            self.tracker.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.tracker.client.log_artifact(self.run_id, str(path), folder)

    def result(self, version: Version, metrics: Mapping[str, float]) -> str:
        """Tag the run with what it made and give its id; a version made earlier gets the run that made it."""
        if self.run_id is None:
            earlier = self.tracker.find(self.origin.dataset, version)
            if earlier is not None:
                return earlier
        self.metrics(0, metrics)
        self.tracker.client.set_tag(self.open(), "data_version", version.data_version)
        return self.open()


class Tracker:
    """Runs of one MLflow store; an experiment is a data set, so that presets and methods compare side by side."""

    def __init__(self, *, uri: str, page: str, artifacts: Path) -> None:
        self.uri, self.page, self.artifacts = uri, page.rstrip("/"), artifacts

    @cached_property
    def client(self) -> MlflowClient:
        """Opened at first use: importing the definitions touches no database."""
        if self.uri.startswith(SQLITE):
            _create(Path(self.uri.removeprefix(SQLITE)))
        return MlflowClient(tracking_uri=self.uri)

    @contextmanager
    def stage(
        self, origin: Origin, *, parameters: Mapping[str, Any], inputs: Collection[Version]
    ) -> Iterator[StageRun]:
        """A run for one materialization: FINISHED at the end, FAILED where the body raises."""
        self._close_abandoned(origin)
        run = StageRun(self, origin, parameters, inputs)
        try:
            yield run
        except BaseException:
            if run.run_id is not None:
                self.client.set_terminated(run.run_id, "FAILED")
            raise
        if run.run_id is not None:
            self.client.set_terminated(run.run_id, "FINISHED")

    def url(self, dataset: str, run_id: str) -> str:
        """Link to a run in the MLflow pages."""
        return f"{self.page}/#/experiments/{self._experiment(dataset)}/runs/{run_id}"

    def find(self, dataset: str, version: Version) -> str | None:
        """The newest run that made this very version."""
        where = f"tags.`dagster.asset_key` = '{version.asset}' and tags.data_version = '{version.data_version}'"
        found = self._search(dataset, where)
        return found[0].info.run_id if found else None

    def made_by(self, run_id: str) -> list[Made]:
        """What a run made, or the nested runs of a lane's parent run, last first.

        Raises ``LookupError``, in one sentence, where there is no such run or where it made nothing.
        """
        if not self._exists():
            raise LookupError(f"there is no MLflow run {run_id}: {self.uri} holds no run yet")
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            raise LookupError(f"there is no MLflow run {run_id} in {self.uri}") from None
        nested = self.client.search_runs([run.info.experiment_id], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'")
        made = [_made(one) for one in (run, *nested)]
        if found := list(dict.fromkeys(one for one in made if one is not None)):
            return found
        raise LookupError(f"the MLflow run {run_id} made no version; it is {run.info.status}")

    def registered(self) -> set[Made]:
        """What any registered model stands on: the versions its run made, and those that run read."""
        if not self._exists():
            return set()
        found: set[Made] = set()
        token = None
        while token != "":
            page = self.client.search_model_versions(page_token=token)
            for model in page:
                found |= self._behind(model)
            token = page.token or ""
        return found

    def _behind(self, model: ModelVersion) -> set[Made]:
        run_id = model.run_id
        if not run_id and model.model_id:
            run_id = self.client.get_logged_model(model.model_id).source_run_id
        if not run_id:  # made outside of the pipeline: it stands on none of its versions
            return set()
        run = self.client.get_run(run_id)
        tags = run.data.tags.items()
        read = {(key.removeprefix(INPUT_TAG), value) for key, value in tags if key.startswith(INPUT_TAG)}
        if run.inputs is not None:  # runs of before the tags
            read |= {(item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs}
        return read | {made for made in [_made(run)] if made is not None}

    def _exists(self) -> bool:
        """Whether there is a database, so that asking makes none."""
        return not self.uri.startswith(SQLITE) or Path(self.uri.removeprefix(SQLITE)).is_file()

    def create(self, origin: Origin, started: int) -> str:
        """Open a nested run below the lane's parent run."""
        tags = origin.tags() | {f"machine.{name}": value for name, value in machine().items()}
        tags |= {MLFLOW_PARENT_RUN_ID: self._parent(origin), MLFLOW_SOURCE_NAME: "dagster"}
        name = f"{origin.entry or origin.stage} {origin.preset} seed {origin.seed}"
        return self._start(origin.dataset, name, tags, started)

    def _parent(self, origin: Origin) -> str:
        where = f"tags.lane = '{origin.dataset}' and "
        where += (
            f"tags.refresh = '{origin.refresh}'"
            if origin.refresh
            else f"tags.`dagster.run_id` = '{origin.dagster_run}'"
        )
        found = self._search(origin.dataset, where)
        if found:
            return str(found[0].info.run_id)
        tags = {**origin.tags(), "lane": origin.dataset, MLFLOW_SOURCE_NAME: "dagster"}
        for own in ("stage", "dagster.asset_key", "code_version"):
            del tags[own]
        lane = f"{origin.dataset} {origin.entry}".strip()
        run_id = self._start(origin.dataset, f"{lane} {origin.preset} seed {origin.seed}", tags)
        self.client.set_terminated(run_id, "FINISHED")  # a frame for its nested runs; it does no work of its own
        return run_id

    def _close_abandoned(self, origin: Origin) -> None:
        """A run that a kill left RUNNING is KILLED, so that the run list tells the truth."""
        where = f"tags.`dagster.asset_key` = '{origin.asset}' and attributes.status = 'RUNNING'"
        for run in self._search(origin.dataset, where):
            if run.data.tags.get("dagster.run_id") != origin.dagster_run:
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _search(self, dataset: str, where: str) -> list[Run]:
        return list(
            self.client.search_runs([self._experiment(dataset)], where, order_by=["attributes.start_time DESC"])
        )

    def _start(self, dataset: str, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        run = self.client.create_run(self._experiment(dataset), run_name=name, start_time=started)
        self.client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        return str(run.info.run_id)

    def _experiment(self, dataset: str) -> str:
        found = self.client.get_experiment_by_name(dataset)
        if found is not None:
            return str(found.experiment_id)
        self.artifacts.mkdir(parents=True, exist_ok=True)
        return str(self.client.create_experiment(dataset, artifact_location=(self.artifacts / dataset).as_uri()))


def _made(run: Run) -> Made | None:
    """What a run made; None for a frame, and for a run that failed."""
    tags = run.data.tags
    return (tags["dagster.asset_key"], tags["data_version"]) if "data_version" in tags else None


def _create(database: Path) -> None:
    """Make MLflow's tables in a sibling and link it into place: a kill would leave half of them, which it refuses."""
    database.parent.mkdir(parents=True, exist_ok=True)
    if database.exists():
        return
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=f".{database.name}.") as folder:
        draft = Path(folder) / database.name
        MlflowClient(tracking_uri=f"{SQLITE}{draft}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another process was first: its database counts
            os.link(draft, database)
