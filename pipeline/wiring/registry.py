"""The model registry: a detector as an MLflow model that can be served, and which version is in use.

Model ``proxyano-<data set>``; alias ``challenger`` is the newest version, ``champion`` the one in use. A challenger
becomes champion where its evaluation is better with its whole interval, or where there is no champion yet.
"""

import io
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from packaging.requirements import Requirement
from PIL import Image

import models
import pipeline
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.store.versions import Store, Version
from pipeline.wiring.promotion import Comparison, compare
from pipeline.wiring.tracking import Tracker

CHAMPION, CHALLENGER = "champion", "challenger"
DETECTOR, EVALUATION = "detector", "evaluation"
"""Tags of a model version: data versions of the detector and of the evaluation it is judged by."""
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
    "detector": "string",
}
"""Columns of the served model's answer, and their MLflow types."""
_NOT_SERVED = {"dagster", "dagster-webserver", "distributed", "pooch", "jinja2", "plotly", "imagehash", "typer", "rich"}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a version stands after it was registered."""

    name: str
    number: str
    champion: bool
    why: str


def model_name(dataset: str) -> str:
    """Name of a data set's model in the registry."""
    return f"proxyano-{dataset}"


def register(tracker: Tracker, store: Store, detector: Version, evaluation: Version, run_id: str) -> Standing:
    """Put a detector into the registry once, make it challenger, and champion where it has earned it."""
    dataset = detector.asset.partition("/")[0]
    client, name = tracker.client, model_name(dataset)
    known = _with_tags(client, name, detector, evaluation) or _create(client, name, detector, evaluation, run_id)
    client.set_registered_model_alias(name, CHALLENGER, known.version)
    champion = at_alias(client, name, CHAMPION)
    if champion is not None and champion.version == known.version:
        return Standing(name=name, number=known.version, champion=True, why="it is the champion already")
    verdict = judged(store, champion, evaluation)
    if verdict.better:
        client.set_registered_model_alias(name, CHAMPION, known.version)
    client.set_model_version_tag(name, known.version, "promotion", verdict.why[:4000])
    return Standing(name=name, number=known.version, champion=verdict.better, why=verdict.why)


def judged(store: Store, champion: ModelVersion | None, evaluation: Version) -> Comparison:
    """The champion's evaluation against a newer one."""
    if champion is None:
        return Comparison(better=True, why="there was no champion")
    try:
        old = store.get(evaluation.asset, champion.tags[EVALUATION])
    except (NeverMaterialized, StoreCorrupt, KeyError) as error:
        return Comparison(better=False, why=f"the evaluation of champion {champion.version} is gone: {error}")
    return compare(old, evaluation)


def at_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version that carries an alias; None where none does."""
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        missing = {ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)}
        if error.error_code not in missing:
            raise
        return None


def _with_tags(client: MlflowClient, name: str, detector: Version, evaluation: Version) -> ModelVersion | None:
    for found in client.search_model_versions(f"name = '{name}'"):
        if (found.tags.get(DETECTOR), found.tags.get(EVALUATION)) == (detector.data_version, evaluation.data_version):
            return found
    return None


def _create(client: MlflowClient, name: str, detector: Version, evaluation: Version, run_id: str) -> ModelVersion:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        client.create_registered_model(name, description=f"Anomaly detector of {detector.asset}, for research only.")
    place = f"model-{detector.data_version}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / place
        save(path, detector)
        client.log_artifacts(run_id, str(path), place)
    source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
    tags = {DETECTOR: detector.data_version, EVALUATION: evaluation.data_version}
    return client.create_model_version(name, source=source, run_id=run_id, tags=tags)


def save(path: Path, detector: Version) -> None:
    """The detector as an MLflow model folder: code, weights, signature, an example, locked requirements."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own classes; it takes seconds to import, so only here
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    signature = ModelSignature(
        inputs=Schema([ColSpec("binary", "image")]),
        outputs=Schema([ColSpec(kind, column) for column, kind in ANSWER.items()]),
        params=ParamSchema([ParamSpec("false_alarm_rate", "double", 0.05)]),
    )
    code = [str(Path(str(package.__file__)).parent) for package in (pipeline, models)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hints at type annotations that a model from code cannot carry
        save_model(
            path=str(path),
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"detector": str(detector.path)},
            code_paths=code,
            signature=signature,
            input_example=example(),
            pip_requirements=locked(),
            metadata={"dataset": detector.asset.partition("/")[0], "detector": detector.data_version},
        )


def example() -> pd.DataFrame:
    """How a request looks: the bytes of a PNG. A drawn blob, as a model must not carry anybody's image."""
    down, along = np.mgrid[-1:1:96j, -1:1:96j]
    drawn = np.rint(220 * np.exp(-3 * (down**2 + along**2))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue()]})


def locked() -> list[str]:
    """What the served model needs, at the versions it was made with."""
    wanted = [Requirement(text) for text in requires("proxyano") or () if "extra ==" not in text]
    names = sorted({each.name for each in wanted} - _NOT_SERVED)
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
