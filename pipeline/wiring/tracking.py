"""The run tracker, and the only file that knows MLflow: one parent run a lane, a nested run for each of its stages."""

import json
import logging
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME

from pipeline.steps.store import Version

logging.getLogger("alembic").setLevel(logging.WARNING)
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

    def tags(self) -> dict[str, str]:
        """MLflow tags of the stage's run."""
        return {
            "dataset": self.dataset,
            "stage": self.stage,
            "preset": self.preset,
            "seed": str(self.seed),
            "dagster.run_id": self.dagster_run,
            "dagster.asset_key": self.asset,
            "code_version": self.code_version,
            MLFLOW_GIT_COMMIT: git_commit(),
        }


@dataclass
class StageRun:
    """One nested run, opened by the first metric or by its result: a version made earlier keeps its own run."""

    tracker: "Tracker"
    origin: Origin
    parameters: Mapping[str, Any]
    inputs: Sequence[Version]
    started: int = field(default_factory=lambda: int(time.time() * 1000))  # ms since 1970
    run_id: str | None = None
    kept: list[tuple[Path, str | None]] = field(default_factory=list)  # artifacts that wait for the run to open

    def open(self) -> str:
        """Id of the run, made now with its parameters and inputs where it was not yet."""
        if self.run_id is None:
            self.run_id = self.tracker.create(self.origin, self.started)
            self._log_parameters()
            self._log_inputs()
            for path, folder in self.kept:
                self.artifact(path, folder)
        return self.run_id

    def _log_parameters(self) -> None:
        pairs = [Param(key, str(value)[:6000]) for key, value in self.parameters.items()]
        for start in range(0, len(pairs), _PARAMETERS_A_CALL):
            self.tracker.client.log_batch(self.open(), params=pairs[start : start + _PARAMETERS_A_CALL])

    def _log_inputs(self) -> None:
        """Data-set inputs whose digest is the Dagster data version."""
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
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.uri)

    @contextmanager
    def stage(self, origin: Origin, *, parameters: Mapping[str, Any], inputs: Sequence[Version]) -> Iterator[StageRun]:
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

    def create(self, origin: Origin, started: int) -> str:
        """Open a nested run below the lane's parent run."""
        tags = origin.tags() | {MLFLOW_PARENT_RUN_ID: self._parent(origin), MLFLOW_SOURCE_NAME: "dagster"}
        name = f"{origin.stage} {origin.preset} seed {origin.seed}"
        return self._start(origin.dataset, name, tags, started)

    def _parent(self, origin: Origin) -> str:
        where = f"tags.lane = '{origin.dataset}' and tags.`dagster.run_id` = '{origin.dagster_run}'"
        found = self._search(origin.dataset, where)
        if found:
            return str(found[0].info.run_id)
        tags = {**origin.tags(), "lane": origin.dataset, MLFLOW_SOURCE_NAME: "dagster"}
        for own in ("stage", "dagster.asset_key", "code_version"):
            del tags[own]
        run_id = self._start(origin.dataset, f"{origin.dataset} {origin.preset} seed {origin.seed}", tags)
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


def git_commit() -> str:
    """Commit of the code that runs, with ``+changes`` where the work tree differs; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    if commit.returncode != 0:
        return "unknown"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=False)
    return commit.stdout.strip() + ("+changes" if status.stdout.strip() else "")
