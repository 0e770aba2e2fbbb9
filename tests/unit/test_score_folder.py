"""What scoring writes, and how a cut run goes on."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from pipeline.detectors.folder.output import ScoreFolder, read_table
from pipeline.detectors.folder.stream import Scored
from pipeline.detectors.frozen.heat import Region
from pipeline.errors import ConfigError


@dataclass
class Made:
    """A finding as far as the folder looks at it."""

    score: float = 1.5
    false_alarm_rate: float = 0.025
    false_alarm_rate_high: float = 0.1
    in_domain: bool = True
    distance: float = 0.7
    maps: dict = None

    def regions(self, rate):
        return (Region(1, 2, 3, 4, 12.0, self.score, 1.0, 2, 3, 0.03),)

    def decision(self, rate):
        return "abnormal" if self.false_alarm_rate <= rate else "normal"

    def overlay(self, rate):
        return b"png"


@dataclass
class Named:
    """A detector as far as the folder looks at it."""

    dataset: str = "oct"
    data_version: str = "0123456789abcdef"


def found(name, number=0, **values):
    return Scored(Path(name), f"sha-{name}", number, Made(maps={}, **values))


def test_tables_hold_a_row_a_frame_and_a_row_a_region(tmp_path):
    folder = ScoreFolder(tmp_path, Named(), 0.05, overlays=True)
    folder.add(found("a/nan.png"))
    folder.add(Scored(Path("b.png"), "", 0, None, "cannot be decoded, 3 bytes"))
    folder.add(found("c.nii", 7, false_alarm_rate=0.5))
    made = folder.finish(["csv", "json", "parquet"])
    assert {path.name for path in made} == {
        f"{n}.{k}" for n in ("scores", "regions") for k in ("csv", "json", "parquet")
    }
    assert folder.counts == {"abnormal": 1, "unusable": 1, "normal": 1}
    table = read_table(tmp_path / "scores.csv")
    assert table["path"].tolist() == ["a/nan.png", "b.png", "c.nii"]
    assert table["decision"].tolist() == ["abnormal", "unusable", "normal"]
    assert table["frame"].tolist() == [0, 0, 7]
    assert pd.isna(table["score"][1])
    assert (tmp_path / table["overlay"][0]).read_bytes() == b"png"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), table)
    assert json.loads((tmp_path / "regions.json").read_text())[1] | {"path": "", "frame": 0} == {
        "path": "", "frame": 0, "rank": 1, "x": 1, "y": 2, "width": 3, "height": 4, "area": 12.0, "peak": 1.5,
        "mean": 1.0, "peak_x": 2, "peak_y": 3, "false_alarm_rate": 0.03,
    }  # fmt: skip
    assert not list(tmp_path.glob("*.partial.csv"))


def test_a_cut_run_goes_on_and_scores_its_last_file_again(tmp_path):
    with ScoreFolder(tmp_path, Named(), 0.05, overlays=False) as cut:
        for name, number in (("a.png", 0), ("b.nii", 0), ("b.nii", 1)):
            cut.add(found(name, number))
    with (tmp_path / "scores.partial.csv").open("a") as file:
        file.write("b.nii,2,abno")  # a kill amid a line
    again = ScoreFolder(tmp_path, Named(), 0.05, overlays=False)
    assert again.done == {("a.png", "sha-a.png")}
    for number in range(3):
        again.add(found("b.nii", number))
    again.finish(["csv"])
    table = read_table(tmp_path / "scores.csv")
    assert list(zip(table["path"], table["frame"], strict=True)) == [
        ("a.png", 0), ("b.nii", 0), ("b.nii", 1), ("b.nii", 2),
    ]  # fmt: skip
    assert len(read_table(tmp_path / "regions.csv")) == 4
    assert again.counts == {"abnormal": 4}


def test_another_detector_does_not_go_on_with_the_table(tmp_path):
    with ScoreFolder(tmp_path, Named(), 0.05, overlays=False) as cut:
        cut.add(found("a.png"))
    for detector, rate in ((Named(data_version="ffff456789abcdef"), 0.05), (Named(), 0.1)):
        with pytest.raises(ConfigError, match="another detector or false-alarm rate"):
            ScoreFolder(tmp_path, detector, rate, overlays=False)


def test_nothing_scored_gives_empty_tables(tmp_path):
    ScoreFolder(tmp_path, Named(), 0.05, overlays=False).finish(["csv", "json", "parquet"])
    assert read_table(tmp_path / "scores.csv").empty
    assert json.loads((tmp_path / "scores.json").read_text()) == []
