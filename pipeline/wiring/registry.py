"""The model registry: a detector as an MLflow model that can be served.

The model is ``proxyano-<data set>``. Its alias ``champion`` is the version in use. A new version gets it if there is no
champion yet or if it learned from other normal images, else if the whole interval of its evaluation's gain on the same
test images lies above 0. Preset ``sample`` never replaces another.
"""

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from packaging.requirements import Requirement

import models
import pipeline
from pipeline.detectors.frozen.files import DESCRIPTION
from pipeline.errors import NeverMaterialized, StoreCorrupt
from pipeline.evaluation.saved import load_evaluation
from pipeline.evaluation.score_name import COMMITTEE, ScoreName
from pipeline.reports.kit.runs import Run, paired
from pipeline.reports.kit.words import shown_title
from pipeline.store.versions import Store, Version
from pipeline.wiring.tracking import Tracker


@dataclass(frozen=True)
class Comparison:
    """Whether the new evaluation is better, and why or why not."""

    better: bool
    why: str


def compare(champion: Version, new: Version) -> Comparison:
    """Compare what ships by pixel AUROC, or by image AUROC where the data set has no masks.

    The new one is better if the whole 95 % interval of the paired difference lies above 0; without the same test
    images there is no pair.
    """
    if champion.data_version == new.data_version:
        return Comparison(False, "it has the champion's own evaluation")
    runs = [_run(version) for version in (champion, new)]
    level = "image" if runs[1].value("pixel", "auroc") is None else "pixel"
    tiles = [{k: v for k, v in run.lane.about("versions").items() if k.endswith("/tiles")} for run in runs]
    if level == "pixel" and (runs[0].value("pixel", "auroc") is None or tiles[0] != tiles[1]):
        return Comparison(False, "the two were not tested on the same tiles")
    if level == "image" and runs[0].test["image_id"].tolist() != runs[1].test["image_id"].tolist():
        return Comparison(False, "the two were not tested on the same images")
    found = paired(runs[0], runs[1], level)
    better = bool(found.low > 0)
    interval = f"{level} AUROC {found.value:+.4f}, 95 % interval [{found.low:+.4f}, {found.high:+.4f}]"
    return Comparison(better, f"{interval}: {'above' if better else 'not wholly above'} 0")


def by_data(champion: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison | None:
    """What decides before any figure, from the facts of two detectors: preset ``sample``, then the normals used.

    None if both learned from the same normals.
    """
    presets, normals = [], []
    for facts in (champion, new):
        presets.append(str(facts.get("preset")))
        normals.append([value for name, value in facts["versions"].items() if name.endswith("/normals")])
    if presets[0] != presets[1] and SAMPLE in presets:
        why = f"the champion has preset {presets[0]}, this detector {presets[1]}: sample never replaces real data"
        return Comparison(presets[0] == SAMPLE, why)
    return (
        Comparison(True, "it learned from other normal images than the champion") if normals[0] != normals[1] else None
    )


def _run(version: Version) -> Run:
    """An evaluation as a run of what ships: the committee, or the method where it stands alone."""
    lane, committee = load_evaluation(version.path), ScoreName.of(COMMITTEE)
    method = committee.method if committee.column in lane.scores else str(lane.about("method"))
    name = version.data_version
    return Run(dataset=version.asset, title="", name=name, method=method, label="", seed=0, version=version)


CHAMPION, SAMPLE = "champion", "sample"
DETECTOR, EVALUATION = "detector", "evaluation"
"""Tags of a model version: data versions of the detector and of its evaluation."""
ANSWER = {
    "input": "long",
    "volume": "string",  # series or input of two slices or more, else empty
    "frame": "long",  # none in the row of a volume
    "decision": "string",
    "score": "double",
    "false_alarm_rate": "double",
    "domain_distance": "double",
    "in_domain": "boolean",
    "regions": "string",  # JSON list, px of the image
    "overlay": "string",  # base64 PNG: the image with its heat
    "reason": "string",
    "slices": "long",  # of a volume that were scored
    "worst_slices": "string",  # of which its score is made: input#frame
    "gray_values": "string",  # what was done to them
    "rate": "double",  # the false-alarm rate of the decision
    "method": "string",
    "detector": "string",
}
"""MLflow types of the served model's columns."""
_NOT_SERVED = {"dagster", "dagster-webserver", "distributed", "pooch", "jinja2", "plotly", "imagehash", "typer", "rich"}


def register(tracker: Tracker, store: Store, detector: Version, evaluation: Version, run_id: str) -> dict[str, Any]:
    """Register a detector once, and make it the champion if it is better or the first; says which version, and why."""
    client, name = tracker.client, f"proxyano-{detector.asset.partition('/')[0]}"
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"Anomaly detector of {detector.asset}, for research only.")
    tags = {DETECTOR: detector.data_version, EVALUATION: evaluation.data_version}
    versions = {int(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    known = next((each for each in versions.values() if tags.items() <= each.tags.items()), None)
    number = int((known or _create(client, name, detector, evaluation, tags, run_id)).version)
    champion = int(client.get_registered_model(name).aliases.get(CHAMPION, 0))  # versions count from 1
    if champion == number:
        found = Comparison(True, "it is the champion already")
    else:
        found = _judged(store, versions[champion] if champion else None, detector, evaluation)
        client.set_model_version_tag(name, str(number), "promotion", found.why[:4000])
        if found.better:
            client.set_registered_model_alias(name, CHAMPION, str(number))
    return {"model": name, "model_version": number, "champion": found.better, "promotion": found.why}


def _judged(store: Store, champion: ModelVersion | None, detector: Version, evaluation: Version) -> Comparison:
    """A detector of other data takes over; one of the same normals has to be better on the same test images."""
    if champion is None:
        return Comparison(True, "there was no champion")
    try:
        before = store.opened(detector.asset, champion.tags[DETECTOR])
        old = store.opened(evaluation.asset, champion.tags[EVALUATION])
    except (NeverMaterialized, StoreCorrupt, KeyError) as error:
        return Comparison(False, f"champion {champion.version} or its evaluation is gone: {error}")
    return by_data(_facts(before), _facts(detector)) or compare(old, evaluation)


def _facts(detector: Version) -> Mapping[str, Any]:
    return dict(json.loads((detector.path / DESCRIPTION).read_text())["facts"])


def _create(
    client: MlflowClient, name: str, detector: Version, evaluation: Version, tags: dict[str, str], run_id: str
) -> ModelVersion:
    place = f"model-{detector.data_version}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / place
        save(path, detector)
        client.log_artifacts(run_id, str(path), place)
    source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
    lane = load_evaluation(evaluation.path)
    title = shown_title(lane.about("title"), drawn=bool(lane.about("drawn")))
    about = f"{title}, preset {lane.about('preset')}. For research only."
    return client.create_model_version(name, source=source, run_id=run_id, tags=tags, description=about)


def save(path: Path, detector: Version) -> None:
    """The detector as an MLflow model folder: code, weights, signature, locked requirements.

    Images have any type: as ``binary``, one odd record would end its request.
    """
    wanted = [Requirement(text) for text in requires("proxyano") or () if "extra ==" not in text]
    names = sorted({each.name for each in wanted} - _NOT_SERVED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about MLflow's own classes, and type annotations that a model cannot carry
        from mlflow.models import ModelSignature  # takes seconds
        from mlflow.pyfunc import save_model
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
        from mlflow.types.schema import AnyType

        save_model(
            path=str(path),
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"detector": str(detector.path)},
            code_paths=_code(),
            signature=ModelSignature(
                inputs=Schema([ColSpec(AnyType(), "image")]),  # type: ignore[no-untyped-call]
                outputs=Schema([ColSpec(kind, column) for column, kind in ANSWER.items()]),
                params=ParamSchema([ParamSpec("false_alarm_rate", "double", 0.05), ParamSpec("method", "string", "")]),
            ),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in names],  # as installed
            metadata={"dataset": detector.asset.partition("/")[0], "detector": detector.data_version},
        )


def _code() -> list[str]:
    """Folders of the packages that a served model imports: two of the repository, or the one that a wheel installs."""
    folders = [Path(str(package.__file__)).parent for package in (pipeline, models)]
    return [str(folders[0].parent)] if "." in pipeline.__name__ else list(map(str, folders))
