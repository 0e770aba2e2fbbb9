"""Checks on what is trained, judged and shown: each passes on a good result and names what is wrong with a bad one."""

import json

import pandas as pd
import pytest
import torch

from models.checkpoint import write_tensors
from pipeline.evaluation.checks import page_opens_offline, reconstructs, scores_complete, weights_finite
from pipeline.evaluation.records import RECORD_KEYS
from pipeline.evaluation.saved import load_evaluation, write_evaluation
from pipeline.reports.kit.publish import Report, write_report
from pipeline.store.versions import Version


def version(folder):
    return Version(asset="eyes/some", data_version="a", path=folder, meta={})


def trained(folder, weight=1.0, loss=0.5):
    """A stage with one canvas, and a member with the histories of two stages."""
    history = [{"step": 1.0, "validation": loss}]
    for place, kept in (("wide", history), ("vae/wide", {"stage1": history, "stage2": history})):
        (folder / place).mkdir(parents=True)
        write_tensors(folder / place / "weights.safetensors", {"layer": torch.tensor([1.0, weight])}, {})
        (folder / place / "history.json").write_text(json.dumps(kept))
    return version(folder)


def test_finite_weights_and_losses_pass(tmp_path):
    assert weights_finite(trained(tmp_path)) == (True, {"numbers": 4, "odd": 0, "examples": []})


@pytest.mark.parametrize(
    ("wrong", "named"), [({"weight": float("nan")}, "wide: layer"), ({"loss": float("inf")}, "wide: validation loss")]
)
def test_odd_weights_and_losses_are_named(tmp_path, wrong, named):
    passed, figures = weights_finite(trained(tmp_path, **wrong))
    assert not passed
    assert figures["examples"] == [f"vae/{named}", named]


def judged(folder, values):
    """Tiles of four images, two to a slot, of which ``a`` is for training; and an evaluation with ``values``."""
    tiles, evaluation = folder / "tiles", folder / "evaluation"
    tiles.mkdir(parents=True)
    splits = {"a": "train", "b": "val", "c": "holdout", "d": "test"}
    rows = [{"image_id": name, "split": split} for name, split in splits.items() for _ in range(2)]
    pd.DataFrame(rows).to_parquet(tiles / "index.parquet")
    table = pd.DataFrame([{"image_id": name, "own:latent": value} for name, value in values])
    table = table.assign(split="test", label=0, klass="normal", group="g")
    record = dict.fromkeys(RECORD_KEYS, "x") | {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "seed": 0}
    summary = {"dataset": "eyes", "title": "Eyes", "preset": "sample", "method": "own", "seed": 0}
    write_evaluation(evaluation, records=[record], scores=table, summary=summary)
    return version(evaluation), version(tiles)


@pytest.mark.parametrize(
    ("values", "figure", "found"),
    [
        ([("b", 1.0), ("c", 2.0), ("d", 3.0)], "images", 3),
        ([("b", 1.0), ("c", 2.0)], "not_scored", 1),
        ([("b", 1.0), ("c", 2.0), ("d", 3.0), ("a", 4.0)], "unknown", 1),
        ([("b", 1.0), ("c", 2.0), ("d", 3.0), ("d", 3.0)], "repeated", 1),
        ([("b", 1.0), ("c", 2.0), ("d", float("nan"))], "odd_columns", ["own:latent"]),
    ],
)
def test_every_asked_image_has_one_finite_score(tmp_path, values, figure, found):
    passed, figures = scores_complete(*judged(tmp_path, values))
    assert passed == (figure == "images")
    assert figures[figure] == found


@pytest.mark.parametrize(
    ("values", "poor"), [({"wide": 0.9, "tight": 0.5}, []), ({"wide": 0.9, "tight": -0.2}, ["tight"]), ({}, [])]
)
def test_a_poor_reconstruction_is_named_with_its_remedy(tmp_path, values, poor):
    evaluation, _ = judged(tmp_path, [("b", 1.0)])
    lane = load_evaluation(evaluation.path)
    plain = lane.records[0] | {"level": "reconstruction", "metric": "reconstruction_r2", "method": "own"}
    made = [plain | {"score": name, "value": value, "subset": "validation normals"} for name, value in values.items()]
    other = plain | {"score": "wide", "value": -9.0}
    ignored = [other | {"subset": "test normals"}, other | {"method": "member_x", "subset": "validation normals"}]
    records = [*lane.records, *made, *ignored]
    write_evaluation(evaluation.path, records=records, scores=lane.scores, summary=lane.summary)
    passed, figures = reconstructs(evaluation)
    assert (passed, figures["poor"]) == (not poor, poor)
    assert {f"reconstruction_r2_{name}" for name in values} == {n for n in figures if n.startswith("reconstruction_r2")}
    assert ("training.canvases['tight']" in figures.get("remedy", "")) == bool(poor)


def test_a_page_of_the_report_opens_offline_and_a_foreign_one_does_not(tmp_path):
    page = tmp_path / "index.html"
    write_report(Report(title="a report", first="Top", opening="", parts=[], records=[]), tmp_path, {})
    assert page_opens_offline(page)[0]
    body = '<a href="https://paper.example">paper</a><img src="data:image/png;base64,AA==">'
    page.write_text(body)
    assert page_opens_offline(page) == (True, {"megabytes": 0.0, "loads": 0, "examples": []})
    page.write_text(body + '<link rel="stylesheet" href="page.css"><script src="https://cdn.example/x.js"></script>')
    passed, figures = page_opens_offline(page)
    assert not passed
    assert figures["examples"] == ["page.css", "https://cdn.example/x.js"]
