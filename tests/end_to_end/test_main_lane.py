"""From nothing to the report by the documented lines, and everything that people look at on the way."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from models.checkpoint import load_method
from models.prediction import predict
from models.scoring import ScoreConfig
from models.source import TensorSource
from pipeline.data.decode import read_frames
from pipeline.detectors.frozen.files import read_detector
from pipeline.detectors.network import NetworkDetector
from pipeline.evaluation.saved import load_evaluation
from pipeline.experiments.presets import PRESETS
from pipeline.tiles.loading import tile_blocks
from pipeline.training import checkpoint_folder

DATASETS = ("brain_mri", "oct", "idrid")
STAGES = ("images", "tiles", "proxies", "normals", "stage1", "stage2", "members", "detector", "evaluation")
ABOVE = {
    "tiles": ("images",),
    "proxies": ("tiles",),
    "normals": ("tiles", "proxies"),
    "stage1": ("normals",),
    "stage2": ("normals", "stage1"),
    "members": ("normals",),
    "detector": ("normals", "stage2", "members"),
    "evaluation": ("images", "tiles", "proxies", "stage1", "stage2", "members", "detector"),
}
TABLES = ("images", "tiles", "evaluation", "evaluation_report")
PROJECT = Path(__file__).resolve().parents[2]
RECORD = ["dataset", "method", "preset", "seed", "level", "score", "metric", "subset", "value", "low", "high", "n"]
RECORD += ["data_version"]
LINE = "dagster asset materialize --select '*evaluation_report'"

pytestmark = pytest.mark.slow


def assets():
    return [f"{name}/{stage}" for name in DATASETS for stage in STAGES] + ["evaluation_report"]


@pytest.fixture(scope="module")
def instance(undisturbed):
    with undisturbed.instance() as instance:
        yield instance


def materialization(instance, asset):
    event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    assert event is not None, asset
    return event.asset_materialization


def test_the_report_alone_says_in_one_sentence_what_to_run_first(make_home):
    home = make_home()
    code, printed = home.materialize("evaluation_report")
    assert code != 0
    sentence = f"No data set has been evaluated yet; run: {LINE}"
    assert sentence in printed
    assert "Traceback" not in printed
    assert '  File "' not in printed
    assert not (home.root / "reports").exists()


def test_report_files_and_record_keys(undisturbed):
    folder = undisturbed.root / "reports" / "evaluation_report"
    assert {"index.html", "report.md", "report.json"} <= {path.name for path in folder.iterdir()}
    records = json.loads((folder / "report.json").read_text())
    assert all(list(record) == RECORD for record in records)
    table = pd.DataFrame(records)
    assert set(table["dataset"]) == set(DATASETS)
    assert set(table["preset"]) == {"sample"}
    assert set(table["level"]) == {"image", "pixel", "pasted", "reconstruction"}
    assert set(table.loc[table["level"] == "pixel", "dataset"]) == {"idrid"}
    for name, part in table.groupby("dataset"):
        assert "proxyano" in set(part["method"])
        assert any(method.startswith("control_") for method in part["method"]), name
        nulls = PRESETS["sample"].lanes[name].evaluation.nulls
        assert nulls
        assert {f"null_{null}" for null in nulls} <= set(part["method"]), name
        assert (part["metric"] == "auroc_minus_null").any(), name
        own = part[(part["level"] == "reconstruction") & (part["method"] == "proxyano")]
        assert {"proxy_r2", "reconstruction_r2", "repair", "memory_perplexity"} <= set(own["metric"]), name
        assert ("lesion_kept" in set(own["metric"])) == (name == "idrid")
        assert {"validation normals", "paper patch", "streak", "square"} <= set(own["subset"]), name
        committee = part[part["method"] == "committee"]
        assert (committee["level"] == "image").any(), name
        found = part[(part["level"] == "pasted") & (part["metric"] == "peak_found") & (part["subset"] == "strong")]
        member = {"oct": {"member_segmentation"}, "brain_mri": {"member_denoising"}}.get(name, set())
        assert {"committee", "proxyano"} | member <= set(found["method"]), name
        assert found["value"].between(0, 1).all(), name
        assert any(method.startswith("shortcut_") for method in part["method"]), name
        versions = undisturbed.versions()
        assert set(part["data_version"]) <= set(versions.values())
    text = (folder / "report.md").read_text()
    assert all(title in text for title in ("IDRiD", "OCT", "rain"))


def test_the_report_of_the_sample_says_that_its_images_are_drawn(undisturbed):
    folder, warning = undisturbed.root / "reports" / "evaluation_report", "Drawn sample, not patient data"
    page, text = ((folder / name).read_text() for name in ("index.html", "report.md"))
    assert text.splitlines()[2].startswith(f"> **{warning}: Brain MRI (drawn)")
    assert f'<p class="banner" role="note">{warning}' in page
    assert all("For research only." in one for one in (page, text))
    assert " found, " in text
    assert " normal, 12 abnormal |" in text
    assert "ProxyAno in the paper" not in text
    assert "| paper |" not in text.partition("## Brain MRI")[0], "the summary"
    line = [sys.executable, "-m", "pipeline.cli", "summary"]
    said = subprocess.run(line, cwd=PROJECT, env=undisturbed.environment, capture_output=True, text=True, check=True)
    made, drawn, *_ = said.stdout.splitlines()
    assert made.startswith("Report made at 20")
    assert drawn.startswith(warning), "above the table"
    assert "preset sample" in said.stdout
    assert "paper" not in said.stdout


def test_the_audit_lies_beside_the_scores(undisturbed):
    assert undisturbed.store.current("brain_mri/members").meta["members"] == {"denoising": "denoising"}
    evaluation = undisturbed.store.current("brain_mri/evaluation")
    listed = pd.read_csv(evaluation.path / "audit.csv")
    assert {"image_id", "path", "agreeing", "member_denoising:standardised"} <= set(listed.columns)
    assert (evaluation.path / "audit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", DATASETS)
def test_an_evaluation_keeps_a_thumbnail_of_every_scored_image_and_layers_of_some(undisturbed, name):
    lane = load_evaluation(undisturbed.store.current(f"{name}/evaluation").path)
    small = lane.pictures[lane.pictures["layer"] == "thumbnail"]
    assert sorted(small["image_id"]) == sorted(lane.scores["image_id"])
    drawn = lane.pictures.drop(index=small.index)
    canvases = {"brain_mri": {"head"}, "oct": {"wide", "tight"}, "idrid": {"field"}}[name]
    layers = {"input", "proxy", "reconstruction", "heat"}
    assert {"found", "false alarm"} <= set(drawn["kind"])
    for image_id, rows in drawn.groupby("image_id"):
        assert set(rows["canvas"]) == canvases
        abnormal = lane.scores.set_index("image_id").loc[image_id, "label"] == 1
        assert set(rows["layer"]) == layers | ({"truth"} if name == "idrid" and abnormal else set())


@pytest.mark.parametrize("name", DATASETS)
def test_the_sample_shows_the_method_at_work(undisturbed, name):
    """Reconstructions look like the image, and what is altered is repaired: what the README's pictures rest on."""
    records = load_evaluation(undisturbed.store.current(f"{name}/evaluation").path).records
    for canvas in PRESETS["sample"].lanes[name].training.canvases:
        own = [row for row in records if (row["method"], row["score"]) == ("proxyano", canvas)]
        explained = {row["subset"]: row["value"] for row in own if row["metric"] == "reconstruction_r2"}
        normals = explained.get("test normals", explained.get("holdout normals"))
        repaired = [row["value"] for row in own if row["metric"] == "repair"]
        assert normals >= 0.8, canvas
        assert normals > explained["test abnormal"], canvas
        assert len(repaired) == 3, canvas
        assert sum(repaired) / 3 >= 0.5, canvas


@pytest.mark.parametrize("name", DATASETS)
def test_lesions_of_the_sample_are_in_the_domain_of_its_detector(undisturbed, name):
    images = pd.read_parquet(undisturbed.store.current(f"{name}/images").path / "images.parquet")
    abnormal = images.loc[images["label"] == 1, "path"]
    detector = read_detector(undisturbed.store.current(f"{name}/detector").path, device="cpu")
    cheap = detector.member(detector.names[-1])  # the domain is the same for all
    pixels = [next(read_frames(undisturbed.root / "sample" / name / path)).pixels for path in abnormal]
    found = cheap.score_tiles([(one, cheap.cut(one)) for one in pixels])
    assert sum(not one.in_domain for one in found) <= len(found) / 10


def test_broken_and_doubled_files_are_quarantined_by_name(undisturbed):
    expected = {
        "brain_mri": {"br35h/no/no91.jpg": "", "image(8).jpg": "same content as br35h/no/no90.jpg"},
        "oct": {
            "OCT2017/train/NORMAL/NORMAL-100142-9.jpeg": "",
            "OCT2017/train/NORMAL/NORMAL-100128-9.jpeg": "same content",
        },
        "idrid": {"IDRiD_214.jpg": "", "IDRiD_215.jpg": "same content"},
    }
    page = (undisturbed.root / "reports" / "evaluation_report" / "index.html").read_text()
    for name, files in expected.items():
        table = pd.read_parquet(undisturbed.store.current(f"{name}/images").path / "quarantine.parquet")
        assert len(table) == len(files)
        for end, reason in files.items():
            (found,) = table[table["path"].str.endswith(end)].itertuples()
            assert reason in found.reason
            assert found.reason
            assert end.rpartition("/")[2] in page


@pytest.mark.parametrize("asset", assets())
def test_materializations_carry_what_people_look_at(undisturbed, instance, asset):
    found = materialization(instance, asset)
    version = undisturbed.store.current(asset)
    metadata = {key: value.value for key, value in found.metadata.items()}
    assert found.tags["dagster/data_version"] == version.data_version == metadata["data_version"]
    assert metadata["path"] == str(version.path)
    assert metadata["minutes"] >= 0
    assert metadata["peak_gib"] > 0
    run = undisturbed.mlflow.get_run(metadata["mlflow_run_id"])
    page, _, query = metadata["mlflow_run"].partition("?")
    assert page.endswith(f"/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    assert query == "workflowType=machine_learning"
    assert run.data.tags["data_version"] == version.data_version
    figures = {key: value for key, value in metadata.items() if isinstance(value, float)}
    assert all(value == float(f"{value:.4g}") for value in figures.values()), "as pages show them"
    if asset.endswith("/evaluation"):
        level = "pixel" if asset.startswith("idrid") else "image"
        assert f"{level}_auroc_standardised" in list(figures)[:2], "what the lane is judged by comes first"
    pictures = [value for value in metadata.values() if isinstance(value, str) and "data:image/png;base64," in value]
    assert pictures or asset == "idrid/members"  # a lane without other methods
    if asset == "evaluation_report":
        assert metadata["page"] == f"{page}/artifacts/report/index.html?{query}"
        files = undisturbed.mlflow.list_artifacts(run.info.run_id, "report")
        assert "report/index.html" in [file.path for file in files]
    if asset.rpartition("/")[2] in TABLES:
        columns = found.metadata["dagster/column_schema"].value.columns
        assert [column.name for column in columns if not column.description] == []
        assert metadata["dagster/row_count"] > 0
    undisturbed.store.verify(version)


def test_every_asset_check_passed(instance):
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    events = [
        entry.dagster_event for run in instance.get_runs() for entry in instance.all_logs(run.run_id, of_type=kind)
    ]
    found = [event.asset_check_evaluation_data for event in events]
    names = {(check.asset_key.to_user_string(), check.check_name) for check in found}
    assert len(names) == 14 * len(DATASETS) + 1
    failed = [check for check in found if not check.passed]
    poor = [check for check in failed if check.check_name == "reconstructs"]  # the sample's budget is far too small
    assert [(check.asset_key, check.check_name, check.metadata) for check in failed if check not in poor] == []
    assert all(check.severity == dg.AssetCheckSeverity.WARN and "remedy" in check.metadata for check in poor)


@pytest.mark.parametrize("name", DATASETS)
def test_mlflow_has_one_parent_a_lane_and_a_nested_run_a_stage(undisturbed, instance, name):
    client, versions = undisturbed.mlflow, undisturbed.versions()
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = [run for run in runs if "lane" in run.data.tags]
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "`sample` are of drawings" in experiment.tags["mlflow.note.content"]
    assert "(drawn), preset sample" in client.get_model_version(f"proxyano-{name}", "1").description
    nested = {run.data.tags["stage"]: run for run in runs if "stage" in run.data.tags}
    assert len(runs) == 1 + len(STAGES)
    assert set(nested) == set(STAGES)
    for stage, run in nested.items():
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["dagster.asset_key"] == f"{name}/{stage}"
        made = materialization(instance, f"{name}/{stage}")
        assert made.metadata["mlflow_run_id"].value == run.info.run_id
        assert instance.get_run_by_id(tags["dagster.run_id"]).is_success
        assert run.data.params["preset"] == "sample"
        inputs = {item.dataset.name: item.dataset.digest for item in run.inputs.dataset_inputs}
        assert inputs == {f"{name}/{other}": versions[f"{name}/{other}"] for other in ABOVE.get(stage, ())}
    assert any(key.endswith("train/proxy") or "/train/" in key for key in nested["stage1"].data.metrics)
    assert client.list_artifacts(nested["stage1"].info.run_id, "checkpoint")
    assert parent.data.metrics == nested["evaluation"].data.metrics != {}
    assert client.list_artifacts(nested["evaluation"].info.run_id, "evaluation")


def test_again_gives_the_same_versions_and_opens_no_run(undisturbed):
    client = undisturbed.mlflow

    def runs():
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return {run.info.run_id for run in client.search_runs(experiments)}

    versions, before = undisturbed.versions(), runs()
    assert set(versions) == set(assets())
    code, printed = undisturbed.materialize("*evaluation_report")
    assert code == 0, printed[-3000:]
    assert undisturbed.versions() == versions
    assert runs() == before
    assert not [path for path in (undisturbed.root / "stores" / "work").rglob("*") if path.is_file()]


def test_flip_average_is_the_mean_over_the_image_and_its_mirror_image(undisturbed):
    stage, tiles = undisturbed.store.current("brain_mri/stage2"), undisturbed.store.current("brain_mri/tiles")

    def predicted(**options):
        detector = NetworkDetector.trained(stage, tiles, "head", ScoreConfig(), **options)
        return detector.maps(next(tile_blocks(tiles, None, canvas="head", splits=("val",), count=64)))

    plain = predicted()
    assert np.array_equal(plain.steady, plain.residual)
    found = predicted(flip_average=True)
    assert np.array_equal(found.residual, plain.residual)
    method = load_method(checkpoint_folder(stage, "head"))
    images = plain.images
    source = TensorSource.from_arrays(
        np.rint(images.pixels[..., ::-1] * 255).astype(np.uint8), None, images.seen[..., ::-1], images.scored[..., ::-1]
    )
    mirrored = predict(method, source, batch_size=64).residual.numpy()[:, 0, :, ::-1]
    assert np.abs(mirrored - plain.residual).max() > 1e-3
    assert np.allclose(found.steady, (plain.residual + mirrored) / 2, atol=1e-6)
