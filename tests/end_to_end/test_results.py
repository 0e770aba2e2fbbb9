"""``proxyano results`` on the made sample: the current evaluations as one file, tables and pictures."""

import json
import os
import subprocess
import sys

import cv2
import pytest


def results(home, folder, *words):
    own = {"PROXYANO_HOME": str(home.root), "DAGSTER_HOME": str(home.root / "dagster")}
    command = [sys.executable, "-m", "pipeline.cli", "results", *words, "--into", str(folder)]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_results_of_a_fresh_home_are_written_without_training(undisturbed, tmp_path):
    done = results(undisturbed, tmp_path, "oct")
    assert done.returncode == 0, done.stdout + done.stderr
    held = json.loads((tmp_path / "results.json").read_text())
    assert {record["dataset"] for record in held["records"]} == {"oct"}
    metrics = {record["metric"] for record in held["records"] if record["method"] == "proxyano"}
    assert {"auroc", "proxy_r2", "reconstruction_r2", "repair"} <= metrics
    assert "## oct, image level" in (tmp_path / "tables.md").read_text()
    for canvas in ("wide", "tight"):
        picture = cv2.imread(str(tmp_path / "reconstruction" / f"oct_{canvas}.png"), cv2.IMREAD_GRAYSCALE)
        assert picture.shape[0] > 6 * 64
        assert picture.std() > 20
    again = results(undisturbed, tmp_path, "oct", "--add")
    assert again.returncode == 2
    assert "seeds [0] are in the earlier results too" in again.stdout


def test_unknown_names_and_numbers_are_refused(undisturbed, tmp_path):
    for words, said in ((["octt"], "expected some of"), (["oct", "--seeds", "0,x"], "expected numbers with commas")):
        done = results(undisturbed, tmp_path, *words)
        assert done.returncode == 2
        assert said in done.stdout
