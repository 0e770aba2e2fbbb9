"""The served model: every record by itself, its limits, and what it answers to a wrong request."""

import base64
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.fuzz_seeds import nifti, picture, saved
from benchmarks.fuzz_targets import answer, served
from pipeline.detectors.folder.output import ScoreFolder, read_table
from pipeline.detectors.folder.stream import stream
from pipeline.detectors.frozen.calibration import Calibration
from pipeline.wiring.registry import ANSWER
from tests.unit.bad_files import Image, bad_files
from tests.unit.volume_files import head, series
from tests.unit.volume_files import nifti as nifti_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's, about its own classes
    from pipeline.wiring import served_model

pytestmark = pytest.mark.slow

PNG = saved(Image.fromarray(picture()), "PNG")
DEEP = saved(Image.fromarray(picture().astype(np.uint16) * 256), "PNG")
LEAST = 1 / 25  # of 24 normals


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def ask(*posted: object, **params: object) -> tuple[int, dict]:
    """Status and answer, which is valid JSON and holds no traceback."""
    body = {"dataframe_records": [{"image": one} for one in posted], "params": params}
    status, told = answer(json.dumps(body).encode())
    assert "Traceback" not in told
    assert "stack_trace" not in told
    return status, json.loads(told, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_bad_record_answers_with_its_reason_and_the_others_are_scored():
    cut, reason = bad_files()["gray.jpg"]
    status, told = ask(text(PNG), None, "no base64!", text(b""), 5, text(cut), ["a"], {"b": 1}, text(DEEP), "ä")
    rows = told["predictions"]
    assert status == 200
    assert [row["input"] for row in rows] == list(range(10))
    assert [row["score"] is not None for row in rows] == [n in (0, 8) for n in range(10)]
    assert [row["reason"] == "" for row in rows] == [n in (0, 8) for n in range(10)]
    for number, wanted in {1: "got nothing", 2: "got other text", 3: "is empty", 4: "got int", 5: reason}.items():
        assert wanted in rows[number]["reason"]
        assert rows[number]["decision"] == "unusable"
    assert set(rows[0]) == set(ANSWER)
    assert rows[8]["gray_values"] == "depth 16 bits"
    assert rows[8]["rate"] == 0.05


def test_a_volume_has_a_row_a_slice_and_bytes_are_taken_as_well():
    model, _ = served()
    found = model.predict(pd.DataFrame({"image": [nifti()["u8.nii.gz"], PNG]}))
    assert found[["input", "frame"]].to_numpy().tolist() == [[0, 0], [0, 1], [0, 2], [0, None], [1, 0]]
    assert found["volume"].tolist() == ["input 0"] * 4 + [""]
    volume, slices = found.iloc[3], found["score"][:3]
    assert (volume["slices"], volume["overlay"]) == (3, "")
    assert volume["decision"] == ("no rate" if volume["in_domain"] else "out of domain")
    assert volume["score"] == pytest.approx(slices.astype(float).mean(), abs=1e-6)
    assert volume["worst_slices"].split(", ")[0] == f"0#{slices.astype(float).idxmax()}"
    uncalibrated = "the detector was calibrated on images, not on volumes"
    reason = uncalibrated if volume["in_domain"] else "most of its slices are out of domain"
    assert found["reason"].tolist() == ["", "", "", reason, ""]


def test_the_answer_has_the_rows_of_volumes_that_scores_csv_has(tmp_path, model):
    model.detector = replace(
        model.detector, volume_calibrations={model.detector.name: Calibration.of(np.linspace(-1, 1, 24))}
    )
    series(tmp_path / "s", head(1, air=0), "P", "1.2.3")
    nifti_file(tmp_path / "v.nii", head(2, air=0))
    files = [*sorted((tmp_path / "s").iterdir()), tmp_path / "v.nii"]
    posted = [path.read_bytes() for path in files]
    found = model.predict(None, pd.DataFrame({"image": posted}), {"false_alarm_rate": 0.1})
    folder = ScoreFolder(tmp_path / "out", model.detector, 0.1, files, overlays=False)
    for frame in stream(model.detector, files):
        folder.add(frame)
    folder.finish(["csv"])
    wanted = read_table(tmp_path / "out" / "scores.csv")
    assert found["volume"].tolist() == [name.replace(str(tmp_path / "v.nii"), "input 6") for name in wanted["volume"]]
    volumes = found[found["frame"].isna()].reset_index()
    table = wanted[wanted["frame"].isna()].reset_index()
    for name in ("slices", "decision", "score", "false_alarm_rate", "rate"):
        assert volumes[name].tolist() == pytest.approx(table[name].tolist(), abs=1e-6), name
    json.loads(found.to_json(orient="records"))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_a_rate_outside_0_and_1_is_refused(rate):
    status, told = ask(text(PNG), false_alarm_rate=rate)
    assert status == 400
    assert "expected a number between 0 and 1" in told["message"]


def test_a_rate_too_low_to_tell_is_raised_and_the_answer_says_so():
    status, told = ask(text(PNG), false_alarm_rate=0.001)
    assert status == 200
    assert told["predictions"][0]["rate"] == pytest.approx(LEAST)


def test_another_member_or_column_is_refused_in_words():
    status, told = ask(text(PNG), method="magic")
    assert status == 400
    assert "got 'magic'" in told["message"]
    status, told = answer(json.dumps({"dataframe_records": [{"picture": text(PNG)}]}).encode())
    assert status == 400
    assert "Traceback" not in told


@pytest.fixture
def model():
    """The model's class on the served model's detector, in this process's own module."""
    made = served_model.ServedDetector()
    made.detector = served()[0].unwrap_python_model().detector
    return made


def test_what_is_not_reached_in_time_says_so(model, monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 60.0, 60.0, 60.0])
    monkeypatch.setattr(served_model.time, "monotonic", lambda: next(clock))
    found = model.predict(None, pd.DataFrame({"image": [nifti()["u8.nii.gz"], PNG, PNG]}))
    assert found["frame"].tolist() == [0, 1, 2, None, 0, 0]
    assert [score is not None for score in found["score"]] == [True, True, False, True, False, False]
    assert found["slices"][3] == 2
    assert found["reason"][2] == "not scored: the request took more than 50 s; post fewer images"


def test_large_files_are_refused_before_they_are_decoded(model, monkeypatch):
    monkeypatch.setattr(served_model, "MAX_BYTES", 1 << 20)
    found = model.predict(None, pd.DataFrame({"image": [bytes((1 << 20) + 1), "A" * (3 << 20), PNG]}))
    assert found["reason"].tolist() == ["expected a file of at most 1 MiB, got more"] * 2 + [""]


def test_an_error_of_the_detector_ends_no_request(model, monkeypatch):
    scored = type(model.detector).score

    def score(self, pixels):
        if pixels.shape == (48, 64):
            raise FloatingPointError("diverged")
        return scored(self, pixels)

    monkeypatch.setattr(type(model.detector), "score", score)
    other = saved(Image.fromarray(picture()).resize((80, 60)), "PNG")
    found = model.predict(None, pd.DataFrame({"image": [PNG, other]}))
    assert "FloatingPointError: diverged" in found["reason"][0]
    assert found["score"][1] is not None
