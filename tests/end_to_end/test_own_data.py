"""A folder of images becomes a lane by the documented commands: described, made, reported, changed, removed."""

import json
import logging
import re

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.sample import drawings as phantoms
from pipeline.data.sample.files import cut, jpeg, tiff
from pipeline.definitions import build
from pipeline.errors import ConfigError
from pipeline.evaluation.records import find
from pipeline.evaluation.saved import load_evaluation
from pipeline.fit import fit_detector
from pipeline.wiring.refresh import Outcome, Refresh
from pipeline.wiring.settings import Settings
from tests.end_to_end.every_way import check_scores
from tests.unit.volume_files import head, series

pytestmark = pytest.mark.slow
SLICES = 4  # of a series
LANE = ["images", "tiles", "proxies", "normals", "members", "stage1", "stage2", "detector", "evaluation"]


def scan(rng: np.random.Generator) -> np.ndarray:
    """Smooth structure of its own in a bright disc."""
    ys, xs = np.mgrid[:80, :96].astype(np.float32)
    inside = phantoms.disc(ys, xs, 40, 48, 34, 42)
    return phantoms.eight_bits(inside * (120 + 30 * phantoms.noise(rng, (80, 96), 6)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixteen normals of eight patients and a cut file; four abnormal images with masks and one without."""
    top, rng = tmp_path_factory.mktemp("clinic"), np.random.default_rng(0)
    for name in ("normal", "ill", "masks"):
        (top / name).mkdir()
    for i in range(16):
        (top / "normal" / f"P{i // 2}_{i}.jpg").write_bytes(jpeg(scan(rng)))
    (top / "normal" / "P9_cut.jpg").write_bytes(cut(jpeg(scan(rng))))
    ys, xs = np.mgrid[:80, :96]
    for i in range(5):
        spot = np.hypot(ys - 30 - 3 * i, xs - 40 - 2 * i) < 7
        (top / "ill" / f"Q{i}_0.jpg").write_bytes(jpeg(np.where(spot, 250, scan(rng)).astype(np.uint8)))
        if i < 4:
            (top / "masks" / f"Q{i}_0_mask.tif").write_bytes(tiff(spot))
    (top / "masks" / "Z_mask.tif").write_bytes(tiff(spot))
    return top


@pytest.fixture
def home(make_home):
    """A home of its own, named by the environment as a user's shell would."""
    made = make_home()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PROXYANO_RAW", "PROXYANO_PRESET", "PROXYANO_SEED", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        for name, value in made.environment.items():
            if name.startswith(("PROXYANO_", "DAGSTER_", "MLFLOW_")):
                patch.setenv(name, value)
        patch.setenv("COLUMNS", "200")
        yield made


def typed(*words: str, code: int = 0) -> str:
    """What ``proxyano dataset …`` prints, unbroken."""
    done = CliRunner().invoke(app, ["dataset", *words])
    assert done.exit_code == code, done.output
    return done.output


def refresh(home, select: str) -> Outcome:
    logging.getLogger("dagster").setLevel(logging.WARNING)
    with home.instance() as instance:
        outcome = Refresh(build(Settings()), instance, select).run(lambda number, wave, following: None)
    assert not outcome.failed
    return outcome


def due(home, select: str) -> set[str]:
    with home.instance() as instance:
        return {key.to_user_string() for key in Refresh(build(Settings()), instance, select).due()}


def ran(outcome: Outcome) -> set[str]:
    return {key.to_user_string() for key in outcome.ran}


def test_from_a_folder_to_the_report_and_back(home, folder, tmp_path):
    described = home.root / "datasets" / "clinic.yaml"
    words = ["clinic", "--normal", str(folder / "normal"), "--abnormal", str(folder / "ill")]
    words += ["--masks", str(folder / "masks"), "--mask-suffix", "_mask", "--title", "Our clinic"]
    words += ["--split", "patient", "--patient", r"^([PQ]\d+)_"]
    printed = typed("add", *words)
    assert "clinic: 17 normal, 5 abnormal" in printed
    assert "14 patients" in printed
    assert "4 of 5 abnormal images have a mask; 1 of 5 masks fit no image" in printed
    assert "exists already" in typed("add", *words, code=2)
    fields = yaml.safe_load(described.read_text())
    assert fields["normal"] == str(folder / "normal")
    described.write_text(yaml.safe_dump(fields | {"training": {"size": 32, "steps": 10}}, sort_keys=False))

    checked = typed("check", "clinic")
    assert "cannot be decoded" in checked
    assert "without any lesion mask" in checked
    assert "Nothing was published" in checked
    assert home.versions() == {}
    assert "no" in typed("list").splitlines()[-2]

    assert ran(refresh(home, "*clinic/evaluation")) == {f"clinic/{stage}" for stage in LANE}
    fitted = fit_detector("clinic", normal=folder / "normal", device="cpu")
    assert fitted.data_version == home.store.current("clinic/detector").data_version
    with pytest.raises(ConfigError, match="choose another name"):
        fit_detector("clinic", normal=folder / "ill")
    with pytest.raises(ConfigError, match="has the abnormal images"):
        fit_detector("clinic", normal=folder / "normal", abnormal=folder / "normal")
    assert ran(refresh(home, "evaluation_report")) == {"evaluation_report"}
    report = home.root / "reports" / "evaluation_report"
    text = (report / "report.md").read_text()
    assert "## Our clinic" in text
    assert "The paper reports no result for this data set" in text
    assert "not run: brain_mri, oct, idrid" in text
    records = pd.DataFrame(json.loads((report / "report.json").read_text()))
    assert set(records["dataset"]) == {"clinic"}
    assert set(records["level"]) == {"image", "pixel", "pasted", "reconstruction"}
    assert {"proxyano", "committee", "member_denoising", "control_pca", "control_nearest"} <= set(records["method"])
    assert "evaluation" in typed("show", "clinic").splitlines()[-1]
    names = check_scores(home.store, "clinic", described.with_suffix(""), tmp_path)
    assert {"committee", "proxyano", "denoising"} <= set(names)

    assert ran(refresh(home, "*clinic/evaluation")) == set()
    one = folder / "ill" / "Q0_0.jpg"
    pixels = cv2.imread(str(one), cv2.IMREAD_GRAYSCALE)
    one.write_bytes(jpeg(255 - pixels))
    assert ran(refresh(home, "*clinic/proxies")) == {"clinic/images", "clinic/tiles", "clinic/proxies"}
    assert due(home, "*clinic/evaluation") == {"clinic/normals", "clinic/evaluation"}
    assert ran(refresh(home, "*clinic/evaluation")) == {"clinic/normals", "clinic/evaluation"}  # a test image alone
    images = pd.read_parquet(home.store.current("clinic/images").path / "images.parquet")
    assert (images.groupby("group")["split"].nunique() == 1).all()
    assert set(images["split"][images["label"] == 1]) == {"test"}

    printed = typed("remove", "clinic")
    assert "Still stored: detector, evaluation, images" in " ".join(printed.split())
    assert not described.exists()
    assert one.is_file()
    assert "clinic" in home.store.current("clinic/evaluation").asset
    graph = build(Settings()).resolve_asset_graph()
    assert not any(key.path[0] == "clinic" for key in graph.get_all_asset_keys())
    assert "expected a data set of" in typed("show", "clinic", code=2)


def test_from_series_of_patients_to_a_row_a_volume(home, tmp_path, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "sample")
    for patient in range(30):
        folder = tmp_path / "trial" / ("lesion" if patient >= 24 else "healthy") / f"case{patient:02d}"
        volume = head(patient, lesion=patient >= 24)[-SLICES:]
        series(folder, volume, f"ID-{patient}", f"1.2.840.{patient + 1}")
    printed = typed("add", "trial", str(tmp_path / "trial"))
    assert "trial: 96 normal, 24 abnormal" in printed
    assert "stay together (split: volume)" in printed
    described = home.root / "datasets" / "trial.yaml"
    fields = yaml.safe_load(described.read_text())
    assert fields["split"] == {"by": "volume"}
    described.write_text(yaml.safe_dump(fields | {"training": {"size": 32, "steps": 10}}, sort_keys=False))
    checked = typed("check", "trial")
    assert "volumes: 6 abnormal, 24 normal, with 90 slices; 30 empty ones are left out" in checked
    assert cv2.imread(str(home.root / "datasets" / "trial.slices" / "2.png")).shape == (160, 3 * 160, 3)

    refresh(home, "*trial/evaluation")
    refresh(home, "evaluation_report")
    images = pd.read_parquet(home.store.current("trial/images").path / "images.parquet")
    patients = images.groupby(images["path"].str.extract(r"(case\d+)")[0])
    assert (patients["split"].nunique() == 1).all()
    assert patients["group"].first().nunique() == 30
    lane = load_evaluation(home.store.current("trial/evaluation").path)
    judged = images[images["split"].isin(["holdout", "test"])]
    assert {row["volume"] for row in lane.about("volumes")} == set(judged["volume"])
    (record,) = find(lane.records, method="committee", level="volume", metric="auroc", subset="all")
    assert record["n"] == images.loc[images["split"] == "test", "volume"].nunique()
    text = (home.root / "reports" / "evaluation_report" / "report.md").read_text()
    assert "Results, volume level" in text
    assert sum(line.startswith("| 1.2.840.") for line in text.splitlines()) == len(lane.about("volumes"))
    assert re.search(r"\| empty slices +\| +30", text)

    verified = CliRunner().invoke(app, ["lineage", "trial/images", "--verify"])
    assert verified.exit_code == 0, verified.output
    scored = CliRunner().invoke(
        app,
        ["score", str(tmp_path / "trial" / "lesion"), "--dataset=trial", f"--out={tmp_path}", "--no-overlays", "--yes"],
    )
    assert scored.exit_code == 0, scored.output
    table = pd.read_csv(tmp_path / "scores.csv")
    told = {row["volume"]: row for row in lane.about("volumes")}
    volumes = table[table["frame"].isna()].set_index("volume")
    assert len(volumes) == 6
    assert len(table) == 6 * (SLICES + 1)
    for volume, row in volumes.iterrows():
        assert row["score"] == pytest.approx(told[volume]["score"], abs=1e-3)
        assert row["false_alarm_rate"] == pytest.approx(told[volume]["false-alarm rate"], abs=1e-3)
        assert row["worst_slices"] == ", ".join(f"{name}#0" for name in told[volume]["worst slices"].split(", "))


def test_normals_alone_make_a_detector_and_leave_the_report_alone(home, folder):
    split = ["--split", "patient", "--patient", r"^([PQ]\d+)_"]
    printed = typed("add", "healthy", "--normal", str(folder / "normal"), *split)
    assert "Without abnormal images there is a detector and no evaluation" in printed
    described = home.root / "datasets" / "healthy.yaml"
    fields = yaml.safe_load(described.read_text())
    assert "abnormal" not in fields
    described.write_text(yaml.safe_dump(fields | {"training": {"size": 32, "steps": 10}}, sort_keys=False))
    detector = fit_detector("healthy", normal=folder / "normal", device="cpu")
    odd = detector.score(np.full((80, 96), 255, np.uint8))
    assert odd.score > detector.score(folder / "normal" / "P0_0.jpg").score
    assert "healthy/evaluation" not in home.versions()
    with home.instance() as instance:
        selected = Refresh(build(Settings()), instance, "*evaluation_report").selected()
    assert not any(key.path[0] == "healthy" for key in selected)


def test_commands_say_what_is_wrong_and_write_nothing(home, folder):
    normal, ill = str(folder / "normal"), str(folder / "ill")
    for words, told in {
        ("oct", "--normal", normal, "--abnormal", ill): "other than those of the built-in lanes",
        ("Ward", "--normal", normal, "--abnormal", ill): "small letters",
        ("ward", "--normal", normal, "--abnormal", normal): "expected two folders",
        ("ward", "--normal", normal + "x", "--abnormal", ill): "expected a folder of images at",
        ("ward", "--normal", normal, "--abnormal", ill, "--form", "round"): "expected one of bruch_membrane",
        ("ward", "--normal", normal, "--abnormal", ill, "--split", "patient"): "expected `patient`",
        ("ward", "--normal", normal, "--abnormal", ill, "--split", "patient", "--patient", "X(.)"): "17 unusable ones",
        ("ward", "--normal", normal, "--abnormal", ill, "--split", "folder"): "got no train and no test",
    }.items():
        assert told in " ".join(typed("add", *words, code=2).split()), words
    assert not (home.root / "datasets" / "ward.yaml").exists()
