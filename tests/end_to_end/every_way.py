"""The score of an image file by every way in: the command, the Python interface, the served model."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from pipeline import load_detector
from pipeline.cli import app
from pipeline.data.decode import read_frames
from pipeline.detectors.folder.output import read_table
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.store.versions import Store
from tests.unit.served import served


def check_scores(store: Store, dataset: str, raw: Path, out: Path, rows: Sequence[int] = (0, -1)) -> list[str]:
    """Every way in gives test images the score of the evaluation, to 1e-6, by everything that can score; its names.

    ``raw`` is the folder of the images, ``rows`` are their places among the test images. ``PROXYANO_HOME`` names the
    home of ``store``.
    """
    lane = load_evaluation(store.current(f"{dataset}/evaluation").path)
    manifest = pd.read_parquet(store.current(f"{dataset}/images").path / "images.parquet").set_index("image_id")
    test = lane.scores[lane.scores["split"] == "test"].iloc[list(rows)]
    paths = [raw / manifest["path"][image_id] for image_id in test["image_id"]]
    answer = served(store.current(f"{dataset}/detector").path)
    names = load_detector(dataset).names
    for name, column in columns(lane, names).items():
        expected = pytest.approx(test[column].to_numpy(), rel=1e-6, abs=1e-6)
        detector = load_detector(dataset, method=name, device="cpu")
        frames = [frame for path in paths for frame in read_frames(path)]
        assert [detector.score(frame.pixels).score for frame in frames] == expected, ("Python", name)
        assert by_command(dataset, paths, name, out / name) == expected, ("command", name)
        posted = answer([path.read_bytes() for path in paths], method=name)
        assert posted["score"].tolist() == expected, ("served", name)
    return list(names)


def by_command(dataset: str, paths: Sequence[Path], name: str, out: Path) -> list[float]:
    """Scores in ``scores.csv``, in the order of the paths."""
    words = ["--dataset", dataset, "--method", name, "--out", str(out), "--no-overlays", "--device", "cpu", "--yes"]
    done = CliRunner().invoke(app, ["score", *map(str, paths), *words])
    assert done.exit_code == 0, done.output
    table = read_table(out / "scores.csv").set_index("path")
    return [float(table["score"][str(path)]) for path in paths]


def columns(lane: LaneEvaluation, names: Sequence[str]) -> dict[str, str]:
    """What can score → its column in the evaluation."""
    found = {}
    for name in names:
        possible = [f"{head}{name}:standardised" for head in ("", "member_", "control_")]
        (found[name],) = set(lane.scores.columns).intersection(possible)
    return found
