"""``proxyano results`` on the made sample: the current evaluations as one file, tables and pictures."""

import json
import re

import cv2
import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.datasets import DATASETS
from pipeline.evaluation.records import find
from pipeline.evaluation.saved import load_evaluation


def results(home, folder, *words):
    return proxyano(home, "results", *words, "--into", str(folder))


def proxyano(home, *words):
    own = {"PROXYANO_HOME": str(home.root), "DAGSTER_HOME": str(home.root / "dagster"), "COLUMNS": "120"}
    return CliRunner().invoke(app, words, env=own)


@pytest.fixture(scope="module")
def published(undisturbed, tmp_path_factory):
    """A folder with the results of the made sample."""
    folder = tmp_path_factory.mktemp("published")
    done = results(undisturbed, folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.slow
def test_current_results_come_from_the_evaluations(undisturbed, published):
    records = pd.DataFrame(json.loads((published / "results.json").read_text())["records"])
    assert set(records["dataset"]) == set(DATASETS)
    assert {tuple(seeds) for seeds in records["seeds"]} == {(0,)}
    assert not records["pretrained"].any()
    metrics = set(records.loc[records["method"] == "proxyano", "metric"])
    assert {"auroc", "proxy_r2", "reconstruction_r2", "repair"} <= metrics
    same = {"dataset": "oct", "method": "proxyano", "score": "latent", "metric": "auroc", "subset": "all"}
    (expected,) = find(load_evaluation(undisturbed.store.current("oct/evaluation").path).records, **same)
    (found,) = find(records.to_dict("records"), **same)
    assert found["value"] == pytest.approx(expected["value"], abs=1e-4)
    assert "oct" in found["command"]
    assert "## oct, image level" in (published / "tables.md").read_text()
    for picture in ("brain_mri_head", "oct_wide", "oct_tight", "idrid_field"):
        image = cv2.imread(str(published / "reconstruction" / f"{picture}.png"))
        assert image is not None, picture
        assert image.std() > 20, picture
    page = (published / "report" / "index.html").read_text()
    explored = re.findall(r'<script type="application/json" class="explored">(.*?)</script>', page, re.DOTALL)
    shown = dict(zip(DATASETS, [len(json.loads(one)["gallery"]) for one in explored], strict=True))
    assert {name for name, count in shown.items() if count} == {name for name in DATASETS if DATASETS[name].shared}
    assert str(undisturbed.root) not in page


def test_unknown_names_and_numbers_are_refused(undisturbed, tmp_path):
    for words, said in ((["octt"], "expected some of"), (["oct", "--seeds", "0,x"], "expected numbers with commas")):
        done = results(undisturbed, tmp_path, *words)
        assert done.exit_code == 2
        assert said in done.stdout


@pytest.mark.slow
def test_results_are_compared_with_published_ones(undisturbed, published, tmp_path):
    two = ("oct", "idrid")
    compared = ("--workers", "2", "--compare", str(published / "results.json"))
    again = results(undisturbed, tmp_path / "again", *two, *compared)
    assert again.exit_code == 0, again.output
    records = [one for one in json.loads((published / "results.json").read_text())["records"] if one["dataset"] in two]
    assert f"{len(records)} of {len(records)} figures agree with" in again.stdout
    assert "oct, seed 0, split 0 is made" in again.stdout
    assert "up to date" in (undisturbed.root / "results" / "oct.log").read_text()
    assert not (tmp_path / "again" / "report").exists(), "a page of some data sets alone"
    records = [one for one in records if one["dataset"] == "idrid"]
    other = next(one for one in records if one["metric"] == "proxy_r2")
    other |= {"value": other["value"] - 0.5, "low": other["low"] - 0.5, "high": other["high"] - 0.5}
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps({"records": records}))
    apart = results(undisturbed, tmp_path / "again", "idrid", "--compare", str(elsewhere))
    assert apart.exit_code == 1
    assert f"{len(records) - 1} of {len(records)} figures agree with" in apart.stdout
    assert "proxy_r2" in apart.stdout


@pytest.mark.slow
def test_the_plan_of_a_finished_seed_is_to_look_and_that_of_another_rests_on_its_notes(undisturbed):
    done = proxyano(undisturbed, "reproduce", "--part", "lanes", "--seeds", "0,1", "--hours", "0.02", "--dry-run")
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│ lanes" in line]
    assert [row[1:4] for row in rows] == [[name, seed, "1"] for seed in "01" for name in DATASETS]
    assert [row[5] for row in rows] == ["nothing outdated"] * 3 + ["noted"] * 3
    assert all(float(later[4]) > float(first[4]) for first, later in zip(rows[:3], rows[3:], strict=True))
    assert rows[-1][6] == "1 left out by --hours 0.02"
    assert not (undisturbed.root / "reproduce.html").exists()
    one = proxyano(undisturbed, "reproduce", "oct", "--part", "lanes", "--seeds", "0", "--dry-run")
    assert one.stdout.count("│ lanes") == one.stdout.count("│ oct") == 1
    foreign = proxyano(undisturbed, "reproduce", "ct", "--part", "lanes", "--dry-run")
    assert foreign.exit_code == 2
    assert "expected some of brain_mri, oct, idrid, got ct" in foreign.stderr
    wrong = proxyano(undisturbed, "reproduce", "--part", "lane", "--dry-run")
    assert wrong.exit_code == 2
    assert "expected some of lanes, benchmark, ablations, robustness, got lane" in wrong.stderr
