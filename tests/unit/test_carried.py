"""Results that are carried over: found by the image and all that decides them, saved as they are made."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pyarrow import parquet

from models.pixel_curve import ImageCounts, PixelCurve
from pipeline.evaluation.carried import FILE, Carried, ImageDigests, Result
from pipeline.evaluation.scoreboard import CanvasResult
from pipeline.store.increments import Record
from pipeline.store.versions import Version

KEYS = {"a": "key of a", "b": "key of b", "c": "key of c"}


def made(names, log):
    for name in names:
        log.append(name)
        yield name, Result({"name": name, "nan": float("nan")}, {"plane": np.full((2, 2), len(log), np.float32)})


def test_known_results_are_not_made_again_and_come_back_as_they_were(tmp_path):
    log = []
    first = Carried(tmp_path / "first")
    before = first.each(KEYS, lambda names: made(names, log))
    first.write(tmp_path / "version")
    later = Carried(tmp_path / "second", tmp_path / "version")
    after = later.each({**KEYS, "b": "changed b", "d": "key of d"}, lambda names: made(names, log))
    assert log == ["a", "b", "c", "b", "d"]
    assert list(after) == ["a", "b", "c", "d"]
    assert_array_equal(after["a"].arrays["plane"], before["a"].arrays["plane"])
    assert after["a"].values["name"] == "a"
    assert np.isnan(after["a"].values["nan"])
    later.write(tmp_path / "third")
    kept = set(pd.read_parquet(tmp_path / "third" / FILE)["key"])
    assert kept == {"key of a", "key of c", "changed b", "key of d"}, "what nothing used is dropped"


def test_what_is_fitted_is_passed_on_even_where_nothing_new_needs_it(tmp_path):
    first = Carried(tmp_path / "first")
    for key in ("r/wide/fitted/scales", "r/wide/other", "s/wide/fitted/scales"):
        first.put(key, Result({"from": key}))
    first.write(tmp_path / "one")
    second = Carried(tmp_path / "second", tmp_path / "one")
    second.keep("r/wide/fitted/")
    second.write(tmp_path / "two")
    third = Carried(tmp_path / "third", tmp_path / "two")
    assert third.get("r/wide/fitted/scales") == Result({"from": "r/wide/fitted/scales"})
    assert third.get("r/wide/other") is None
    assert third.get("s/wide/fitted/scales") is None


def test_an_interrupted_build_goes_on_after_its_last_save(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.carried.SAVE_EVERY", 0.0)
    log = []

    def dying(names):
        yield from made(names[:2], log)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Carried(tmp_path).each(KEYS, dying)
    Carried(tmp_path).each(KEYS, lambda names: made(names, log))
    assert log == ["a", "b", "c"]


def test_a_canvas_result_survives_with_all_its_histograms():
    rng = np.random.default_rng(0)
    curve = PixelCurve(("MA", "EX"), scale=0.1)
    counts = curve.count(rng.normal(size=(32, 32)), rng.random((2, 32, 32)) < 0.2, rng.random((32, 32)) < 0.9)
    result = CanvasResult(
        {"m:standardised": 1.5, "m:latent": 1e-7}, {"m:standardised": (1.0, 0.25)}, {"m:x": counts}, 2.5
    )
    back = CanvasResult.unpacked(Result.unpacked(*result.packed().packed()))
    assert (back.values, back.hits, back.seconds) == (result.values, result.hits, 2.5)
    found = back.counts["m:x"]
    assert isinstance(found, ImageCounts)
    assert found.bins == counts.bins
    for name in ("at", "counts", "regions"):
        assert_array_equal(getattr(found, name), getattr(counts, name))
        assert getattr(found, name).dtype == getattr(counts, name).dtype


@pytest.fixture
def stores(tmp_path):
    """Tiles and proxies of three images on one or two canvases."""
    index = pd.DataFrame(
        {"image_id": ["a", "a", "b", "c"], "canvas": ["w", "t", "w", "w"], "split": ["test", "test", "test", "val"]}
        | {"canvas_row": 0, "canvas_col": 0, "offset_row": 0.0, "offset_col": 0.0, "group": ["ga", "ga", "gb", "gc"]}
    )
    versions = {}
    for name in ("tiles", "proxies"):
        folder = tmp_path / name
        folder.mkdir()
        Record(recipe="r", digests=[[f"{name}{row}"] for row in range(4)]).write(folder)
        versions[name] = Version(f"eyes/{name}", folder, "0" * 16, {})
    index.to_parquet(tmp_path / "tiles" / "index.parquet")
    return index, versions


def digests(stores, *, changed=None, column=None, value=None):
    index, versions = stores
    tiles = versions["tiles"]
    if column:
        index.assign(**{column: [value, *index[column][1:]]}).to_parquet(tiles.path / "index.parquet")
    if changed:
        name, row = changed
        rows = [[f"{name}{number}"] if number != row else ["other"] for number in range(4)]
        Record(recipe="r", digests=rows).write(versions[name].path)
    return ImageDigests(tiles, versions["proxies"])


def test_digests_are_of_the_images_of_the_splits_and_canvases_that_are_asked_for(stores):
    found = digests(stores)
    assert list(found.of("test", canvas="w")) == ["a", "b"]
    assert list(found.of("val", "test")) == ["a", "b", "c"]
    assert len(set(found.of("val", "test").values())) == 3
    assert found.keys("one", "test")["a"] != found.keys("other", "test")["a"]


@pytest.mark.parametrize(
    "change",
    [
        {"changed": ("tiles", 0)},
        {"changed": ("proxies", 0)},
        {"column": "offset_row", "value": 2.0},
        {"column": "group", "value": "gx"},
        {"column": "split", "value": "holdout"},
    ],
)
def test_the_digest_of_a_changed_image_changes_and_those_of_the_others_stay(stores, change):
    before = digests(stores).of("test", "holdout", "val", canvas="w")
    after = digests(stores, **change).of("test", "holdout", "val", canvas="w")
    assert before["a"] != after["a"]
    assert (before["b"], before["c"]) == (after["b"], after["c"])


def test_results_of_any_size_are_written_and_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.carried.WRITTEN", 100)
    before = Carried(tmp_path / "work")
    given = {f"{n:03d}": Result(n, {"a": np.full(n, n)}) for n in range(30)}
    for key, result in given.items():
        before.put(key, result)
    before.write(tmp_path)
    assert parquet.ParquetFile(tmp_path / FILE).num_row_groups > 5
    after = Carried(tmp_path / "other", tmp_path)
    for key, result in given.items():
        found = after.get(key)
        assert found is not None
        assert found.values == result.values
        assert_array_equal(found.arrays["a"], result.arrays["a"])
    (tmp_path / "empty").mkdir()
    Carried(tmp_path / "work").write(tmp_path / "empty")
    assert Carried(tmp_path / "other", tmp_path / "empty").get("000") is None
