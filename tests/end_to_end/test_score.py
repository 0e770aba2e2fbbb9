"""New images through the detector of the made sample: the command, the Python interface, the served model."""

import base64
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections import Counter

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from models.metrics import label_free_threshold
from pipeline.cli import app
from pipeline.data.decode import read_frames
from pipeline.data.members import find_inputs, frames_of
from pipeline.detectors.frozen.files import read_detector
from pipeline.errors import ConfigError
from pipeline.evaluation.saved import load_evaluation
from pipeline.tiles.loading import read_index
from pipeline.wiring.registry import ANSWER, CHAMPION
from tests.end_to_end.every_way import check_scores
from tests.unit.bad_files import bad_files
from tests.unit.problem_files import PROBLEMS

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LANES = ("brain_mri", "oct", "idrid")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detector(undisturbed):
    return lambda name: read_detector(undisturbed.store.current(f"{name}/detector").path, device="cpu")


def run(undisturbed, *words):
    own = undisturbed.environment
    env = {name: own.get(name) for name in {*os.environ, *own}}  # None removes the caller's
    return CliRunner().invoke(app, ["score", *map(str, words)], env=env)


@pytest.mark.parametrize("name", LANES)
def test_a_files_score_is_the_evaluations_score_of_that_image(undisturbed, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PROXYANO_HOME", str(undisturbed.root))
    names = check_scores(undisturbed.store, name, undisturbed.root / "sample" / name, tmp_path)
    assert {"pixel_classifier" if name == "idrid" else "committee", "proxyano"} <= set(names)


def test_a_detector_says_which_members_hold_copies_of_training_images(detector):
    assert detector("brain_mri").copies == ("proxyano", "patch_neighbour", "pixel_classifier")
    assert detector("oct").copies == ()
    with pytest.raises(ConfigError, match=r"expected one of committee, proxyano, .*, got 'magic'"):
        detector("oct").member("magic")


def test_the_calibration_is_that_of_the_validation_normals(undisturbed, detector):
    found, lane = detector("oct"), load_evaluation(undisturbed.store.current("oct/evaluation").path)
    column = "committee:standardised"
    normal = np.sort(lane.scores.loc[lane.scores["split"] == "val", column].to_numpy(float))
    np.testing.assert_allclose(found.images.normal, normal, rtol=1e-4, atol=1e-4)
    assert found.images.normal.min() <= label_free_threshold(normal) <= found.images.normal.max()


def test_a_folder_with_a_broken_and_a_foreign_file_is_scored_and_says_so(undisturbed, tmp_path):
    images = sorted((undisturbed.root / "sample" / "oct").rglob("test/CNV/*.jp*g"))[:3]
    folder = tmp_path / "clinic"
    folder.mkdir()
    for path in images:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(images[0].read_bytes()[:200])
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    words = ("--format", "csv", "--format", "json", "--false-alarm-rate", "0.2", "--yes")
    done = run(undisturbed, folder, "--dataset", "oct", "--out", tmp_path / "out", *words)
    assert done.exit_code == 3, done.stderr[-2000:]
    assert "broken.png: cannot be decoded" in done.stderr
    assert "made with preset sample" in done.stderr  # these files do not lie in the home's sample
    assert "at a false-alarm rate of 0.2" in done.stdout
    assert "Most abnormal" in done.stdout
    assert "anyway" not in done.stderr, "--yes is an answer"
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    table.index = pd.Index(table["path"].str.rpartition("/")[2])
    assert table.loc["broken.png", "decision"] == "unusable"
    assert table.loc["noise.png", "decision"] in ("out of domain", "unusable")
    assert set(table.loc[[path.name for path in images], "decision"]) <= {"normal", "abnormal", "out of domain"}
    shown = cv2.imread(str(tmp_path / "out" / table.loc[images[0].name, "overlay"]))
    assert shown is not None
    assert len(json.loads((tmp_path / "out" / "scores.json").read_text())) == 5


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0)])
def test_on_a_terminal_a_sample_detector_asks_before_it_scores_other_images(undisturbed, tmp_path, answer, code):
    image = tmp_path / "scan.jpg"
    image.write_bytes(next((undisturbed.root / "sample" / "oct").rglob("test/CNV/*.jp*g")).read_bytes())
    command = [sys.executable, "-m", "pipeline.cli", "score", str(image), "--dataset", "oct", "--out", "out"]
    terminal, inside = pty.openpty()
    os.write(terminal, answer)
    environment = undisturbed.environment | {"PYTHONPATH": PROJECT}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=inside, capture_output=True, text=True, timeout=300, check=False
    )
    os.close(terminal)
    os.close(inside)
    assert done.returncode == code, done.stderr[-2000:]
    assert "Score them anyway? [y/N]" in done.stderr
    assert (tmp_path / "out" / "scores.csv").exists() == (code == 0)


def test_in_a_script_a_sample_detector_refuses_other_images(undisturbed, tmp_path):
    image = tmp_path / "scan.jpg"
    image.write_bytes(next((undisturbed.root / "sample" / "oct").rglob("test/CNV/*.jp*g")).read_bytes())
    done = run(undisturbed, image, "--dataset", "oct", "--out", tmp_path / "out")
    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert "made with preset sample" in told
    assert "score them anyway with --yes" in told
    assert not (tmp_path / "out").exists()


def bad_kinds(folder):
    """Name → content: a file of each kind that cannot be scored, made ones and problem files with one row each."""
    made = {name: content for name, (content, _) in bad_files().items()}
    for number, path in enumerate(sorted(PROBLEMS.rglob("*"))):
        if not path.is_file() or path.suffix in (".md", ".npz"):
            continue
        name = f"{number:03}-{path.name[-100:].removesuffix('.bin')}{'.png' if path.suffix == '.bin' else ''}"
        (folder / name).write_bytes(path.read_bytes())
        frames = [frame for one in find_inputs([folder / name], Counter()) for frame in frames_of(one)]
        if len(frames) == 1 and frames[0].pixels is None:
            made[name] = path.read_bytes()
    return made


@pytest.mark.filterwarnings("ignore")  # of the readers, about damaged files
def test_forty_good_files_are_scored_beside_one_of_each_bad_kind_loose_and_in_an_archive(undisturbed, tmp_path):
    images = pd.read_parquet(undisturbed.store.current("oct/images").path / "images.parquet").set_index("image_id")
    tiled = read_index(undisturbed.store.current("oct/tiles"))["image_id"].unique()[:40]
    good = [undisturbed.root / "sample" / "oct" / path for path in images.loc[tiled, "path"]]
    for made in ("looked", "clinic"):
        (tmp_path / made).mkdir()
    bad = bad_kinds(tmp_path / "looked")
    files = bad | {f"good{number:02}.jpeg": path.read_bytes() for number, path in enumerate(good)}
    with zipfile.ZipFile(tmp_path / "clinic.zip", "w") as packed:
        for name, content in files.items():
            (tmp_path / "clinic" / name).write_bytes(content)
            packed.writestr(name, content)
    tables = []
    for given in ("clinic", "clinic.zip"):
        words = ["--detector", str(undisturbed.store.current("oct/detector").path), "--no-overlays", "--yes"]
        words += ["--out", str(tmp_path / f"out-{given}")]
        done = CliRunner().invoke(app, ["score", str(tmp_path / given), *words])
        assert done.exit_code == 3, done.output[-2000:]
        table = pd.read_csv(tmp_path / f"out-{given}" / "scores.csv", keep_default_na=False)
        table["path"] = table["path"].str.removeprefix(f"{tmp_path / given}").str.lstrip("!/")
        tables.append(table.sort_values("path").reset_index(drop=True))
    loose, inside = tables
    pd.testing.assert_frame_equal(loose.drop(columns="sha256"), inside.drop(columns="sha256"))
    assert sorted(loose["path"]) == sorted(files)
    scored = loose["path"].str.startswith("good")
    assert scored.sum() == 40
    assert (loose.loc[scored, "score"] != "").all()
    assert set(loose.loc[~scored, "decision"]) <= {"unusable", "no image"}
    assert (loose.loc[~scored, "reason"] != "").all()


def test_a_cut_run_goes_on(undisturbed, tmp_path):
    folder = undisturbed.root / "sample" / "brain_mri"
    words = (folder, "--dataset", "brain_mri", "--out", tmp_path / "out", "--no-overlays")
    line = [sys.executable, "-m", "pipeline.cli", "score", *map(str, words)]
    process = subprocess.Popen(line, cwd=PROJECT, env=undisturbed.environment, stderr=subprocess.DEVNULL)
    partial, end = tmp_path / "out" / "scores.partial.csv", time.monotonic() + 240
    while not (partial.is_file() and partial.read_text().count("\n") > 10):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(undisturbed, *words)
    assert "files are scored already" in done.stderr
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    files = [path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png")]
    assert sorted(table["path"]) == sorted(map(str, files))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("x.png", "--dataset", "oct"), "no such file or folder"),
        ((".", "--dataset", "knee"), "there is no detector of 'knee'"),
        ((".",), "expected --dataset NAME or --detector FOLDER"),
        ((".", "--dataset", "oct", "--false-alarm-rate", "0.0001"), "ask for a higher rate"),
        ((".", "--dataset", "oct", "--false-alarm-rate", "0"), "ask for a higher rate"),
        ((".", "--dataset", "oct", "--false-alarm-rate", "1"), "ask for a lower rate"),
        ((".", "--dataset", "oct", "--device", "nonsense"), "device: expected one of auto, cpu"),
        ((".", "--dataset", "oct", "--false-alarm-rate", "1.5"), "Invalid value"),
    ],
)
def test_a_wrong_call_gets_one_sentence_and_exit_code_2(undisturbed, tmp_path, monkeypatch, words, sentence):
    monkeypatch.setenv("PROXYANO_HOME", str(undisturbed.root))
    done = run(undisturbed, *words, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert sentence in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_every_detector_is_registered_and_the_first_one_is_champion(undisturbed):
    for name in LANES:
        version = undisturbed.mlflow.get_model_version_by_alias(f"proxyano-{name}", CHAMPION)
        assert str(version.version) == "1"
        assert version.tags["detector"] == undisturbed.store.current(f"{name}/detector").data_version
        assert version.tags["promotion"] == "there was no champion"
        assert version.run_id


def test_the_served_model_answers_what_the_command_says(undisturbed, detector, tmp_path):
    path = sorted((undisturbed.root / "sample" / "oct").rglob("test/DME/*.jp*g"))[0]
    (frame,) = read_frames(path)
    expected = detector("oct").score(frame.pixels)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/proxyano-oct@champion"]
    line += ["--env-manager", "local", "--port", str(port), "--host", "127.0.0.1", "--workers", "1"]
    environment = undisturbed.environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{undisturbed.root / 'mlflow.db'}"}
    log = undisturbed.root / "served.txt"
    with log.open("w") as output:
        server = subprocess.Popen(line, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(server, f"http://127.0.0.1:{port}/ping", log)
        body = {"dataframe_records": [{"image": base64.b64encode(path.read_bytes()).decode()}]}
        url, names = f"http://127.0.0.1:{port}/invocations", detector("oct").names
        answer = _post(url, body | {"params": {"false_alarm_rate": 0.2}})
        by_name = {name: _post(url, body | {"params": {"method": name}})["predictions"] for name in names}
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    (row,) = answer["predictions"]
    assert set(row) == set(ANSWER)
    assert row["score"] == pytest.approx(expected.score, rel=1e-6)
    for name, (one,) in by_name.items():
        assert one["score"] == pytest.approx(detector("oct").member(name).score(frame.pixels).score, rel=1e-6), name
    assert row["false_alarm_rate"] == expected.false_alarm_rate
    assert row["decision"] == expected.decision(0.2)
    assert base64.b64decode(row["overlay"]) == expected.overlay(0.2)
    done = run(undisturbed, path, "--dataset", "oct", "--out", tmp_path / "out", "--false-alarm-rate", "0.2")
    assert done.exit_code == 0, done.stderr[-2000:]
    told = pd.read_csv(tmp_path / "out" / "scores.csv").iloc[0]
    assert row["score"] == pytest.approx(told["score"], abs=1e-6)
    assert (row["decision"], row["detector"]) == (told["decision"], told["detector"])
    assert base64.b64decode(row["overlay"]) == (tmp_path / "out" / told["overlay"]).read_bytes()


def _wait(server, url, log):
    end = time.monotonic() + 240
    while True:
        assert server.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)


def _post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())
