"""The model registry: a detector as an MLflow model that can be served.

The model is ``proxyano-<data set>``. Its alias ``champion`` is the version in use: a new version gets it if the whole
interval of its evaluation's gain lies above 0, or if there is no champion yet.
"""

import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from packaging.requirements import Requirement

import models
import pipeline
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.store.versions import Store, Version
from pipeline.wiring.promotion import Comparison, compare
from pipeline.wiring.tracking import Tracker

CHAMPION = "champion"
DETECTOR, EVALUATION = "detector", "evaluation"
"""Tags of a model version: data versions of the detector and of its evaluation."""
ANSWER = {
    "input": "long",
    "frame": "long",
    "decision": "string",
    "score": "double",
    "false_alarm_rate": "double",
    "domain_distance": "double",
    "in_domain": "boolean",
    "regions": "string",  # JSON list, px of the image
    "overlay": "string",  # base64 PNG: the image with its heat
    "reason": "string",
    "method": "string",
    "detector": "string",
}
"""MLflow types of the served model's columns."""
_NOT_SERVED = {"dagster", "dagster-webserver", "distributed", "pooch", "jinja2", "plotly", "imagehash", "typer", "rich"}


@dataclass(frozen=True)
class Registered:
    """A model version in the registry; ``why`` says why it is the champion or not."""

    name: str
    number: int
    champion: bool
    why: str


def model_name(dataset: str) -> str:
    """Name of a data set's model in the registry."""
    return f"proxyano-{dataset}"


def register(tracker: Tracker, store: Store, detector: Version, evaluation: Version, run_id: str) -> Registered:
    """Register a detector once, and make it the champion if it is better or the first."""
    client, name = tracker.client, model_name(detector.asset.partition("/")[0])
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"Anomaly detector of {detector.asset}, for research only.")
    tags = {DETECTOR: detector.data_version, EVALUATION: evaluation.data_version}
    versions = {int(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    known = next((each for each in versions.values() if tags.items() <= each.tags.items()), None)
    number = int((known or _create(client, name, detector, tags, run_id)).version)
    champion = int(client.get_registered_model(name).aliases.get(CHAMPION, 0))  # versions count from 1
    if champion == number:
        return Registered(name, number, champion=True, why="it is the champion already")
    found = _judged(store, versions[champion] if champion else None, evaluation)
    if found.better:
        client.set_registered_model_alias(name, CHAMPION, str(number))
    client.set_model_version_tag(name, str(number), "promotion", found.why[:4000])
    return Registered(name, number, found.better, found.why)


def _judged(store: Store, champion: ModelVersion | None, evaluation: Version) -> Comparison:
    if champion is None:
        return Comparison(True, "there was no champion")
    try:
        old = store.get(evaluation.asset, champion.tags[EVALUATION])
    except (NeverMaterialized, StoreCorrupt, KeyError) as error:
        return Comparison(False, f"the evaluation of champion {champion.version} is gone: {error}")
    return compare(old, evaluation)


def _create(client: MlflowClient, name: str, detector: Version, tags: dict[str, str], run_id: str) -> ModelVersion:
    place = f"model-{detector.data_version}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / place
        save(path, detector)
        client.log_artifacts(run_id, str(path), place)
    source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
    return client.create_model_version(name, source=source, run_id=run_id, tags=tags)


def save(path: Path, detector: Version) -> None:
    """The detector as an MLflow model folder: code, weights, signature, locked requirements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about its own classes; imported here because it takes seconds
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    signature = ModelSignature(
        inputs=Schema([ColSpec("binary", "image")]),
        outputs=Schema([ColSpec(kind, column) for column, kind in ANSWER.items()]),
        params=ParamSchema([ParamSpec("false_alarm_rate", "double", 0.05), ParamSpec("method", "string", "")]),
    )
    code = [str(Path(str(package.__file__)).parent) for package in (pipeline, models)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about type annotations, which a model from code cannot carry
        save_model(
            path=str(path),
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"detector": str(detector.path)},
            code_paths=code,
            signature=signature,
            pip_requirements=locked(),
            metadata={"dataset": detector.asset.partition("/")[0], "detector": detector.data_version},
        )


def locked() -> list[str]:
    """Requirements of the served model, at the installed versions."""
    wanted = [Requirement(text) for text in requires("proxyano") or () if "extra ==" not in text]
    names = sorted({each.name for each in wanted} - _NOT_SERVED)
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
