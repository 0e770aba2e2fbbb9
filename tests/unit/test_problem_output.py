"""Outputs with odd names, and a home that was moved."""

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from pipeline.data.raw import RawFolder
from pipeline.data.walk import find_files
from pipeline.detectors.folder.output import ScoreFolder, read_table
from pipeline.detectors.folder.stream import ScoredFrame
from tests.unit.problem_folders import picture, put


class Scored:
    """A scored image, as far as the folder uses it."""

    score, false_alarm_rate, false_alarm_rate_high, in_domain, distance, looked_at = 1.5, 0.025, 0.1, True, 0.7, 1.0
    maps: dict = {}  # noqa: RUF012

    def regions(self, rate):
        return ()

    def decision(self, rate):
        return "normal"

    def overlay(self, rate):
        return b"\x89PNG\r\n"


DETECTOR = SimpleNamespace(dataset="oct", data_version="0123456789abcdef", name="committee")


def score(folder: Path, files: list[Path], *, overlays: bool = True, finish: bool = True) -> ScoreFolder:
    made = ScoreFolder(folder, DETECTOR, 0.05, files, overlays=overlays)
    for file in made.left:
        made.add(ScoredFrame(file, "ab" * 32, 0, Scored()))
    if finish:
        made.finish(["csv", "json", "parquet"])
    return made


def test_long_and_odd_names_get_rows_and_overlays(problems, tmp_path):
    (long,) = (problems / "09-long-name").glob("*.png")
    odd = [os.fsdecode(b"M\xfcller.png"), "ä" * 120 + ".png", "a\rb\n\x1b[2J.png", "=cmd|' /C calc'!A0"]
    odd = [Path(name) for name in odd]
    score(tmp_path / "out", [long, *odd])
    table = read_table(tmp_path / "out" / "scores.csv")
    assert len(table) == 5
    assert table["path"][1] == r"M\xfcller.png"
    assert table["path"][4].startswith("'=cmd|")
    assert b"\r" not in (tmp_path / "out" / "scores.csv").read_bytes()
    assert all((tmp_path / "out" / name).is_file() for name in table["overlay"])
    assert max(len(os.fsencode(Path(name).name)) for name in table["overlay"]) < 240
    assert pd.read_parquet(tmp_path / "out" / "scores.parquet")["path"][4] == str(odd[3])


def test_cells_that_begin_like_a_formula_are_text_and_numbers_stay(tmp_path):
    names = ["=a.png", "+a.png", "-a.png", "@a.png", 'a,b;"c".png']
    score(tmp_path / "out", [Path(name) for name in names])
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert table["path"].tolist() == [f"'{name}" for name in names[:4]] + names[4:]
    assert table["score"].tolist() == [1.5] * 5


def test_own_overlays_are_never_scored(tmp_path):
    counts = []
    for number in range(3):
        put(tmp_path, f"{min(number, 1)}.png", picture(number))
        put(tmp_path, "also.png", picture(9))
        files = list(find_files([tmp_path]))
        score(tmp_path / "scores", files)
        score(tmp_path / "old" / "monday", files)
        counts.append(len(files))
    assert counts == [2, 3, 3]
    assert len(RawFolder(tmp_path).paths()) == 3 + 4  # with the tables
    for name in ("dagster/a", "stores/a", "sample/oct/1.png"):
        put(tmp_path, f"home/{name}", picture(12))
    assert len(list(find_files([tmp_path]))) == 3
    put(tmp_path, "p/overlays/mine.png", picture(11))
    assert tmp_path / "p" / "overlays" / "mine.png" in list(find_files([tmp_path]))


def test_an_interrupted_run_with_odd_names_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [put(Path(), name, b"x") for name in (os.fsdecode(b"a\xfc.png"), "=b.png", "c.png")]
    monkeypatch.setattr("pipeline.detectors.folder.output.file_sha256", lambda path: "ab" * 32)
    score(tmp_path / "out", files, finish=False)
    assert score(tmp_path / "out", files).left == files[2:]


# A moved home


def test_artifacts_follow_a_moved_home(tmp_path):
    from pipeline.wiring.doctor_checks import tracking
    from pipeline.wiring.tracking import Tracker

    old, new = tmp_path / "h1", tmp_path / "h2"
    tracker = Tracker(uri=f"sqlite:///{old}/mlflow.db", page="", artifacts=old / "mlruns")
    run = tracker.client.create_run(tracker._experiment("oct")).info.run_id
    tracker.client.log_text(run, "text", "a.txt")
    old.rename(new)
    uri = f"sqlite:///{new}/mlflow.db"
    assert "the home was moved" in tracking(uri, new / "mlruns").found
    moved = Tracker(uri=uri, page="", artifacts=new / "mlruns")
    assert moved.client.get_experiment_by_name("oct").artifact_location == (new / "mlruns" / "oct").as_uri()
    assert [item.path for item in moved.client.list_artifacts(run)] == ["a.txt"]
    assert tracking(uri, new / "mlruns").state == "ok"
    assert not old.exists()
    with sqlite3.connect(new / "mlflow.db") as database:
        assert str(old) not in "".join(map(str, database.execute("SELECT artifact_uri FROM runs")))
