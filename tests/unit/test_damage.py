"""A damaged store is noticed where it is read, and never reused: single bits, lost files, broken bookkeeping."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import typer
import zarr
from typer.testing import CliRunner
from zarr.codecs import Crc32cCodec

from benchmarks.flips import CHUNKS, HARMLESS, NOTICED, flipped, flips
from models.checkpoint import write_tensors
from pipeline.cli import app
from pipeline.commands.terminal import STOPPED, Commands
from pipeline.errors import StoreCorrupt
from pipeline.store.provenance import read_record, unreadable
from pipeline.store.shards import create, open_array, write_rows
from pipeline.store.survey import survey
from pipeline.store.verify import MARKER
from pipeline.store.versions import SET_ASIDE, Store, Version
from pipeline.wiring import doctor_checks as doctor
from tests.unit.drawn_tiles import Corners, build, make_inputs

ONE, TWO = "1" * 16, "2" * 16
ROWS = np.random.default_rng(0).integers(0, 255, (6, 1, 16, 16), dtype=np.uint8)


def publish(store: Store, data_version: str = ONE) -> Version:
    """A version with an array and a file of every other kind."""
    with store.building("eyes/stage1", data_version) as work:
        group = zarr.open_group(work, mode="w", attributes={"neutral": 7})
        create(group, "pixels", ROWS.shape, shard=4, level=1)
        array = open_array(work, "pixels", "r+")
        write_rows(array, 0, ROWS[:4])
        write_rows(array, 4, ROWS[4:])
        pd.DataFrame({"a": range(50)}).to_parquet(work / "index.parquet")
        write_tensors(work / "weights.safetensors", {"w": torch.zeros(40)}, {"a": 1})
        cv2.imwrite(str(work / "case.png"), ROWS[0, 0])
        (work / "index.html").write_text("<p>page</p>")
        (work / "records.json").write_text('[{"value": 0.5}]')
        return store.publish("eyes/stage1", work, data_version, {"seed": 0})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "stores")
    store.point(publish(store))
    return store


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def test_every_flipped_bit_is_noticed_by_the_name_of_its_file(tmp_path: Path) -> None:
    """A slice of ``benchmarks/flips.py``."""
    tiles = build(tmp_path, make_inputs(tmp_path, count=5), Corners(), store="stores")
    store = Store(tmp_path / "stores")
    store.point(tiles)
    store.point(publish(store))
    table = flips(store, 40, np.random.default_rng(0))
    kinds = {CHUNKS, "zarr metadata", "marker", "pointer", "json", "parquet", "safetensors", "png", "html"}
    assert set(table.index) == kinds
    assert (table[NOTICED] + table[HARMLESS] == table["flips"]).all(), table
    assert table[NOTICED].sum() >= 38
    store.verify(tiles)  # restored


@pytest.mark.parametrize("shard", ["0", "1"])
def test_a_flipped_bit_anywhere_in_a_shard_is_noticed_as_its_rows_are_read(store: Store, shard: str) -> None:
    version = store.current("eyes/stage1")
    assert Crc32cCodec() in open_array(version.path, "pixels").compressors
    path, rng = version.path / "pixels" / "c" / shard / "0" / "0" / "0", np.random.default_rng(1)
    for _ in range(30):
        with (
            flipped(path, rng),
            pytest.raises(StoreCorrupt, match=f"^eyes/stage1 {ONE}: {path} is damaged: .* refresh$"),
        ):
            open_array(version.path, "pixels")[:]
    np.testing.assert_array_equal(open_array(version.path, "pixels")[:], ROWS)


def test_a_wrong_selection_is_no_damage(store: Store) -> None:
    with pytest.raises(IndexError):
        open_array(store.current("eyes/stage1").path, "pixels")[100]


@pytest.mark.parametrize("name", ["pixels/c/0/0/0/0", "index.parquet", "zarr.json"])
def test_a_lost_or_cut_file_is_noticed_when_the_version_is_opened(store: Store, name: str) -> None:
    path = store.current("eyes/stage1").path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match=name):
        store.current("eyes/stage1")
    path.unlink()
    with pytest.raises(StoreCorrupt, match="got no such file"):
        store.current("eyes/stage1")


@pytest.mark.parametrize("name", ["pixels/c/0/0/0/0", "index.html", MARKER])
def test_a_damaged_version_is_set_aside_and_built_again(store: Store, name: str, caplog) -> None:
    version = store.current("eyes/stage1")
    damage(version.path / name)
    with caplog.at_level(logging.WARNING):
        assert store.built("eyes/stage1", ONE) is None
    assert f"{version.path / name} is damaged" in caplog.text
    assert "set aside" in caplog.text
    assert (version.path / SET_ASIDE).is_file()
    with pytest.raises(StoreCorrupt, match="run: proxyano refresh"):
        store.current("eyes/stage1")
    store.verify(publish(store))
    assert not (version.path / SET_ASIDE).exists()


def test_a_build_of_equal_content_replaces_a_damaged_version(store: Store) -> None:
    version = store.current("eyes/stage1")
    damage(version.path / "weights.safetensors")
    publish(store)
    store.verify(store.current("eyes/stage1"))
    kept = (version.path / MARKER).read_bytes()
    publish(store)
    assert (version.path / MARKER).read_bytes() == kept


def test_a_look_at_the_store_says_what_was_compared(store: Store) -> None:
    version = store.current("eyes/stage1")
    size = sum(file["bytes"] for file in store.marker(version)["files"].values())
    whole = survey(store, ["eyes/stage1", "eyes/nothing"])
    assert (whole.damaged, whole.versions, whole.compared, whole.size) == ({}, 1, size, size)
    damage(version.path / "pixels/c/0/0/0/0")
    short = survey(store, ["eyes/stage1"], seconds=0)
    assert not short.damaged
    assert 0 < short.compared < size
    assert "pixels/c/0/0/0/0 is damaged" in survey(store, ["eyes/stage1"]).damaged["eyes/stage1"]
    found = doctor.stores(store)
    assert (found.state, found.remedy) == ("problem", "proxyano refresh")
    assert "1 current versions" in found.found
    assert doctor.stores(Store(store.root / "empty")).state == "ok"


RECORDS = {
    "current": "current/eyes/stage1.json",
    "built": f"built/eyes/stage1/{ONE}.json",
    "notes": f"notes/eyes/stage1/{ONE}.json",
    "origins": f"origins/eyes/stage1/{ONE}.json",
}


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("content", [b"", b'{"data_ver', b'{"data_version": "../oct"}', b"[7]", b"\xff\xfe"])
def test_a_broken_record_is_named_in_one_sentence(store: Store, kind: str, content: bytes) -> None:
    path = store.root / RECORDS[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if kind == "notes" and content.startswith(b'{"data_version'):
        return  # notes hold anything
    with pytest.raises(
        StoreCorrupt, match=f"^{path} is damaged: expected a record of {kind}, got .*; run: proxyano refresh$"
    ):
        read_record(path, kind)
    assert set(unreadable(store.root)) == {path}


@pytest.fixture
def said(monkeypatch, tmp_path):
    """Call a command in a home; its exit code and the lines of both streams."""
    for name in [name for name in os.environ if name.startswith(("PROXYANO_", "DAGSTER_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))

    def run(*words: str, home: Path = tmp_path) -> tuple[int, list[str]]:
        monkeypatch.setenv("PROXYANO_HOME", str(home))
        done = CliRunner().invoke(app, list(words))
        assert isinstance(done.exception, SystemExit | None), done.exception
        return done.exit_code, done.output.splitlines()

    return run


@pytest.mark.parametrize(
    "words", [["summary"], ["lineage", "eyes/stage1"], ["clean"], ["score", ".", "--dataset", "eyes"]]
)
def test_commands_name_an_empty_pointer_in_one_line(store: Store, said, words: list[str]) -> None:
    for asset in ("eyes/stage1", "eyes/detector", "evaluation_report"):
        pointer = (store.root / "current" / asset).with_suffix(".json")
        pointer.parent.mkdir(exist_ok=True)
        pointer.write_bytes(b"")
    code, lines = said(*words)
    assert code in (1, 2)
    assert len(lines) == 1
    assert ".json is damaged: expected a record of current, got 0 bytes" in lines[0]


def without_heading(lines: list[str]) -> list[str]:
    """What a command says after ``refresh``'s first line, which names preset and raw data."""
    return lines[1:] if lines[0].startswith("─ ProxyAno · preset ") else lines


@pytest.mark.parametrize("words", [["lineage", "a" * 32], ["clean"], ["refresh"]])
@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\0" * 2000])
def test_commands_name_a_damaged_database_in_one_line(store: Store, said, tmp_path: Path, words, content) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    code, lines = said(*words)
    assert code == 1
    lines = without_heading(lines)
    assert len(lines) == 1, lines
    assert "mlflow.db" in lines[0] or "proxyano doctor" in lines[0]


def test_refresh_names_a_damaged_instance_in_one_line(said, tmp_path: Path) -> None:
    for file in doctor.DAGSTER_FILES:
        (tmp_path / "dagster" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dagster" / file).write_bytes(b"no database" * 100)
    code, lines = said("refresh")
    assert code == 1
    lines = without_heading(lines)
    assert len(lines) == 1, lines
    assert "dagster does not open: file is not a database; dagster instance migrate" in lines[0]


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no folder in which nobody can write")
@pytest.mark.parametrize("words", ["refresh", "clean", "summary"])
def test_commands_name_a_home_that_cannot_be_written(said, monkeypatch, words: str) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    code, lines = said(words, home=Path("/sys/kernel/home"))
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith("/sys/kernel/home")
    assert lines[0].endswith("; see: proxyano doctor")


def test_ctrl_c_in_a_command_and_before_it(tmp_path: Path) -> None:
    small = typer.Typer(cls=Commands)

    @small.command()
    def waits() -> None:
        raise KeyboardInterrupt

    @small.command()
    def fails() -> None:
        raise ValueError("a mistake of ours")

    done = CliRunner().invoke(small, ["waits"])
    assert (done.exit_code, done.output.splitlines()) == (130, [STOPPED])
    assert isinstance(CliRunner().invoke(small, ["fails"]).exception, ValueError)
    line = [sys.executable, "-c", "import pipeline.commands\nraise KeyboardInterrupt"]
    early = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert (early.returncode, early.stderr) == (-signal.SIGINT, "Stopped.\n")
