"""Results of scoring a folder, and how an interrupted run is resumed."""

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from pipeline.detectors.folder.output import ScoreFolder, read_table
from pipeline.detectors.folder.stream import ScoredFrame
from pipeline.detectors.frozen.calibration import Calibration
from pipeline.detectors.frozen.heat import Region
from pipeline.errors import ConfigError


@dataclass
class Made:
    """A scored image, as far as the folder uses it."""

    score: float = 1.5
    false_alarm_rate: float = 0.025
    false_alarm_rate_high: float = 0.1
    in_domain: bool = True
    distance: float = 0.7
    maps: dict = None
    looked_at: float = 1.0

    def regions(self, rate):
        return (Region(1, 2, 3, 4, 12.0, self.score, 1.0, 2, 3, 0.03),)

    def decision(self, rate):
        return "abnormal" if self.false_alarm_rate <= rate else "normal"

    def overlay(self, rate):
        return b"png"


@dataclass
class Named:
    """A detector, as far as the folder uses it."""

    dataset: str = "oct"
    data_version: str = "0123456789abcdef"
    name: str = "committee"
    volumes: Calibration | None = None


RATE = 0.05


@pytest.fixture
def file(tmp_path):
    """Make a file of that name; its content is the name unless another is given."""

    def make(name, content=""):
        path = tmp_path / name
        path.write_text(content or name)
        return path

    return make


def scored(path, number=0, **values):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return ScoredFrame(path, sha256, number, Made(maps={}, **values))


def write(folder, files, rate=RATE, detector=None):
    return ScoreFolder(folder, detector or Named(), rate, files, overlays=False)


def test_tables_hold_a_row_a_frame_and_a_row_a_region(tmp_path, file):
    paths = [file("nan.png"), tmp_path / "b.png", file("c.nii")]
    folder = ScoreFolder(tmp_path, Named(), RATE, paths, overlays=True)
    assert folder.left == paths
    folder.add(scored(paths[0]))
    folder.add(ScoredFrame(paths[1], "", 0, None, "cannot be decoded, 3 bytes"))
    folder.add(scored(paths[2], 7, false_alarm_rate=0.5))
    made, counts = folder.finish(["csv", "json", "parquet"])
    assert {path.name for path in made} == {
        f"{n}.{k}" for n in ("scores", "regions") for k in ("csv", "json", "parquet")
    }
    assert counts == {"abnormal": 1, "unusable": 1, "normal": 1}
    table = read_table(tmp_path / "scores.csv")
    assert table["path"].tolist() == [str(path) for path in paths]
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


def test_an_interrupted_run_is_resumed_and_its_last_file_scored_again(tmp_path, file):
    a, b, unread = file("a.png"), file("b.nii"), tmp_path / "gone.png"
    cut = write(tmp_path, [a, unread, b])
    cut.add(scored(a))
    cut.add(ScoredFrame(unread, "", 0, None, "no such file"))
    for number in range(2):
        cut.add(scored(b, number))
    with (tmp_path / "scores.partial.csv").open("a") as partial:
        partial.write(f"{b},2,abno")  # a kill in the middle of a line
    again = write(tmp_path, [a, unread, b])
    assert again.left == [b]
    for number in range(3):
        again.add(scored(b, number))
    _, counts = again.finish(["csv"])
    table = read_table(tmp_path / "scores.csv").dropna(subset="frame")  # without the row of b.nii as a volume
    places = list(zip(table["path"], table["frame"], strict=True))
    assert places == [(str(a), 0), (str(unread), 0), *((str(b), number) for number in range(3))]
    assert len(read_table(tmp_path / "regions.csv")) == 4
    assert counts == {"abnormal": 4, "unusable": 1}


def test_a_volume_has_a_row_behind_its_slices_at_the_rate_of_volumes(tmp_path, file):
    paths = [file(name) for name in ("a.dcm", "b.nii", "c.dcm", "d.png")]
    normal = Calibration.of(np.arange(9.0))
    folder = write(tmp_path, paths, detector=Named(volumes=normal))
    for path, number, score, series in zip(
        (paths[0], *[paths[1]] * 5, paths[2], paths[3]),
        (0, 0, 1, 2, 3, 4, 0, 0),
        (1, 7, 9, 8, 0, 9.5, 3, 99),
        ("1.2", *[""] * 5, "1.2", ""),
        strict=True,
    ):
        folder.add(replace(scored(path, number, score=score, false_alarm_rate=0.5), series=series))
    _, counts = folder.finish(["csv", "parquet"])
    table = read_table(tmp_path / "scores.csv")
    assert counts == {"normal": 8}
    assert folder.volumes == {"abnormal": 1, "normal": 1}
    assert [row.volume for row in table.itertuples() if pd.isna(row.frame)] == [str(paths[1]), "1.2"]
    assert [path.rpartition("/")[2] for path in table["path"]] == ["a.dcm", *["b.nii"] * 6, "c.dcm", "a.dcm", "d.png"]
    volumes = table[table["frame"].isna()].set_index("volume")
    b, series = volumes.loc[str(paths[1])], volumes.loc["1.2"]
    worst = np.mean([9.5, 9, 8])
    assert (b["slices"], b["score"], b["worst_slices"]) == (5, round(worst, 7), "b.nii#4, b.nii#1, b.nii#2")
    assert (b["false_alarm_rate"], b["false_alarm_rate_high"]) == (
        pytest.approx(normal.rate(worst)),
        pytest.approx(normal.highest_rate(worst), abs=1e-6),
    )
    assert (b["decision"], b["rate"]) == ("abnormal", 0.1)  # nine volumes tell no lower rate
    assert (series["score"], series["decision"], series["false_alarm_rate"]) == (2, "normal", 0.8)
    assert pd.isna(table["volume"].iloc[-1]) or table["volume"].iloc[-1] == ""
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == 10


def test_a_detector_of_images_gives_a_volume_no_rate(tmp_path, file):
    path = file("b.nii")
    folder = write(tmp_path, [path])
    for number in range(3):
        folder.add(scored(path, number))
    folder.finish(["csv"])
    row = read_table(tmp_path / "scores.csv").iloc[-1]
    assert (row["decision"], row["score"]) == ("no rate", 1.5)
    assert pd.isna(row["false_alarm_rate"])
    assert "calibrated on images" in row["reason"]


def test_a_file_that_was_replaced_is_scored_again(tmp_path, file):
    a, b, c = (file(name) for name in ("a.png", "b.png", "c.png"))
    cut = write(tmp_path, [a, b, c])
    for path in (a, b, c):
        cut.add(scored(path))
    file("a.png", "another image")
    again = write(tmp_path, [a, b, c])
    assert again.left == [a, c], "the replaced file, and the last one"
    for path in again.left:
        again.add(scored(path, score=2.5))
    again.finish(["csv"])
    for name, column in (("scores", "score"), ("regions", "peak")):
        table = read_table(tmp_path / f"{name}.csv")
        assert dict(zip(table["path"], table[column], strict=True)) == {str(a): 2.5, str(b): 1.5, str(c): 2.5}
    table = read_table(tmp_path / "scores.csv").set_index("path")
    assert table.loc[str(a), "sha256"] == hashlib.sha256(b"another image").hexdigest()


def test_a_run_with_another_detector_is_not_resumed(tmp_path, file):
    a = file("a.png")
    cut = write(tmp_path, [a])
    cut.add(scored(a))
    for detector, rate in ((Named(data_version="ffff456789abcdef"), RATE), (Named(name="pca"), RATE), (Named(), 0.1)):
        with pytest.raises(ConfigError, match="another detector, method or false-alarm rate"):
            write(tmp_path, [a], rate, detector)


def test_a_folder_holds_the_results_of_one_run(tmp_path, file):
    a, b = file("a.png"), file("b.png")
    first = ScoreFolder(tmp_path / "out", Named(), RATE, [a, b], overlays=True)
    for one in (a, b):
        first.add(scored(one))
    first.finish(["csv", "json", "parquet"])
    own = tmp_path / "out" / "overlays" / "of-mine.png"
    own.write_bytes(b"png")
    again = ScoreFolder(tmp_path / "out", Named(name="pca"), RATE, [b], overlays=True)
    again.add(scored(b))
    again.finish(["csv"])
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == ["regions.csv", "scores.csv"]
    (drawn,) = read_table(tmp_path / "out" / "scores.csv")["overlay"]
    assert set((tmp_path / "out" / "overlays").iterdir()) == {tmp_path / "out" / drawn, own}


def test_a_file_in_place_of_the_folder_gets_one_sentence(tmp_path, file):
    with pytest.raises(ConfigError, match=r"--out .*a\.png: expected a folder, or a place for a new one, got a file"):
        write(file("a.png"), [])


def test_nothing_scored_gives_empty_tables(tmp_path):
    write(tmp_path, []).finish(["csv", "json", "parquet"])
    assert read_table(tmp_path / "scores.csv").empty
    assert json.loads((tmp_path / "scores.json").read_text()) == []
