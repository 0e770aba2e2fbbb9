"""From a version down to its raw files, and what no longer matches, on small stores of real files."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.data.checks import raw_files, verify
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.store.lineage import chain, closure, named, unknown
from pipeline.store.provenance import Provenance, RawInput
from pipeline.store.verify import MARKER, differences, sealed
from pipeline.store.versions import Store, Version
from pipeline.store.versions import fingerprint as content_fingerprint

TILES, STAGE1, REPORT = "a1" * 16, "b2" * 8, "c3" * 8
ORIGIN = Provenance(
    inputs={},
    code_version="1",
    git_commit="f" * 40,
    dagster_run="run-1",
    mlflow_run="0" * 32,
    preset="sample",
    seed=0,
)


def publish(store: Store, asset: str, data_version: str, inputs: list[Version], **meta) -> Version:
    with store.building(asset, data_version[:16]) as work:
        (work / "inner").mkdir(exist_ok=True)
        (work / "inner" / "a.bin").write_bytes(data_version.encode())
        version = store.publish(asset, work, data_version, meta)
    store.record_provenance(version, replace(ORIGIN, inputs={item.asset: item.data_version for item in inputs}))
    store.point(version)
    return version


def manifest(store: Store, folder: Path, paths: dict[str, list[str]]) -> Version:
    """Publish ``oct/images`` over raw files, each with its masks."""
    raw = RawFolder(folder)
    rows = []
    for path, masks in paths.items():
        marked = hashlib.sha256(b"".join(bytes.fromhex(raw.sha256(mask)) for mask in masks)).hexdigest()
        row = {"path": path, "sha256": raw.sha256(path), "bytes": raw.sizes[path]}
        masks_of = {str(number): mask for number, mask in enumerate(masks)}
        rows.append(row | {"masks": json.dumps(masks_of), "masks_sha256": marked if masks else ""})
    images, quarantine = pd.DataFrame(rows), pd.DataFrame({"path": ["x"], "reason": ["y"]})
    with store.building("oct/images", "0" * 16) as work:
        images.to_parquet(work / "images.parquet", index=False)
        quarantine.to_parquet(work / "quarantine.parquet", index=False)
        (work / "counts.json").write_text("{}")
        data_version = content_fingerprint(images.to_dict("list"), quarantine.to_dict("list"), {})
        version = store.publish("oct/images", work, data_version, {})
    origin = RawInput(dataset="oct", root=str(folder), fingerprint=fingerprint(raw))
    store.record_provenance(version, replace(ORIGIN, raw=origin))
    store.point(version)
    return version


@pytest.fixture
def downloads(tmp_path) -> Path:
    folder = tmp_path / "raw" / "oct"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png", "m1.png", "m2.png", "labels.csv"):
        (folder / name).write_bytes(name.encode() * 100)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("inner/c.png", b"c" * 1000)
    return folder


@pytest.fixture
def store(tmp_path, downloads) -> Store:
    """images → tiles → stage1 → report, the tiles read by the report too."""
    store = Store(tmp_path / "stores")
    images = manifest(store, downloads, {"a.png": ["m1.png", "m2.png"], "b.png": [], "more.zip!/inner/c.png": []})
    tiles = publish(store, "oct/tiles", TILES, [images])
    stage1 = publish(store, "oct/stage1", STAGE1, [tiles])
    publish(store, "evaluation_report", REPORT, [tiles, stage1])
    return store


def findings(store: Store):
    return verify(chain(store, [("evaluation_report", REPORT)]), store, progress=False)


def test_the_chain_goes_from_the_raw_files_up_each_version_once_the_longest_way_first(store, downloads):
    found = chain(store, [("evaluation_report", REPORT)])
    assert [node.asset for node in found] == ["oct/images", "oct/tiles", "oct/stage1", "evaluation_report"]
    top = found.nodes["evaluation_report", REPORT]
    assert [asset for asset, _ in top.inputs] == ["oct/stage1", "oct/tiles"]
    images = next(iter(found))
    assert images.raw == RawInput(dataset="oct", root=str(downloads), fingerprint=fingerprint(RawFolder(downloads)))
    assert raw_files(found) == 5
    assert findings(store) == []
    rows = json.loads(json.dumps(found.as_json()))["versions"]
    assert rows[1]["origin"]["inputs"] == {"oct/images": images.data_version}


@pytest.mark.parametrize("file", ["oct/tiles/" + TILES, "oct/stage1/" + STAGE1, "evaluation_report/" + REPORT])
def test_a_flipped_byte_in_a_version_is_named(store, file):
    path = store.root / "versions" / file / "inner" / "a.bin"
    flip(path)
    (found,) = findings(store)
    assert found.what == file.replace("/" + path.parent.parent.name, " " + path.parent.parent.name)
    assert found.where == str(path)
    assert found.expected != found.got


def test_a_flipped_byte_in_a_manifest_is_named_and_says_nothing_of_the_raw_files(store):
    images = store.current("oct/images")
    flip(images.path / "images.parquet")
    (found,) = findings(store)
    assert found.where == str(images.path / "images.parquet")


@pytest.mark.parametrize(
    ("name", "where"),
    [("a.png", ["a.png"]), ("m2.png", ["m1.png", "m2.png"]), ("more.zip", ["more.zip!/inner/c.png"])],
)
def test_a_flipped_byte_in_a_raw_file_is_named(store, downloads, name, where):
    if name == "more.zip":
        (downloads / name).unlink()
        with zipfile.ZipFile(downloads / name, "w") as archive:
            archive.writestr("inner/c.png", b"c" * 999 + b"d")
    else:
        flip(downloads / name)
    (found,) = findings(store)
    assert found.what.startswith("raw files of oct/images ")
    assert found.where == ", ".join(str(downloads / one) for one in where)


@pytest.mark.parametrize("name", ["a.png", "m2.png"])
def test_a_missing_raw_file_is_named(store, downloads, name):
    (downloads / name).unlink()
    (found,) = findings(store)
    assert (found.where, found.got) == (str(downloads / name), "no such file")


def test_a_broken_archive_says_why(store, downloads):
    (downloads / "more.zip").write_bytes(b"no archive")
    (found,) = findings(store)
    assert "the archive cannot be opened" in found.got


def test_another_file_of_the_folder_shows_in_its_fingerprint(store, downloads):
    flip(downloads / "labels.csv")
    (found,) = findings(store)
    assert found.where == str(downloads)
    assert "labels" in found.got


def test_a_folder_that_is_gone_and_a_version_that_is_gone(store, downloads):
    downloads.rename(downloads.with_name("moved"))
    (found,) = findings(store)
    assert (found.where, found.got) == (str(downloads), "no such folder")
    (store.folder("oct/tiles", TILES) / MARKER).unlink()
    missing, _ = findings(store)
    assert missing.what == f"oct/tiles {TILES}"
    assert MARKER in missing.got


def test_the_raw_files_of_a_copied_home_are_its_own(store, downloads, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(downloads, copy.joinpath(*downloads.parts[-2:]))
    changed = next(path for path in sorted(copy.rglob("*")) if path.suffix == ".csv")
    flip(changed)
    assert findings(store) == []
    (found,) = verify(chain(store, [("evaluation_report", REPORT)]), store, home=copy, progress=False)
    assert found.where == str(changed.parent)


def test_a_broken_marker_and_one_of_another_version(store):
    tiles = store.current("oct/tiles")
    marker, text = tiles.path / MARKER, (tiles.path / MARKER).read_text()
    marker.write_bytes(sealed(store.marker(tiles) | {"data_version": "d" * 32}))
    (found,) = findings(store)
    assert "d" * 32 in found.got
    for broken in (text[1:], text.replace("oct/tiles", "oct/files"), text.replace('"sha256": "', '"sha257": "')):
        marker.write_text(broken)
        (found,) = findings(store)
        assert f"{marker} is damaged" in found.got


def test_swapped_content_with_a_marker_to_match_is_found_by_the_content_version(store):
    images = store.current("oct/images")
    (images.path / "counts.json").write_text('{"parts": 1}')
    content = json.loads((images.path / MARKER).read_text())
    for name, (_, got) in differences(images.path).items():
        content["files"][name] = got
    del content["sha256"]
    (images.path / MARKER).write_bytes(sealed(content))
    (found,) = findings(store)
    assert found.expected == f"content of version {images.data_version}"


def test_a_version_from_before_origins_ends_the_chain_and_says_so(store):
    (store.root / "origins" / "oct" / "tiles" / f"{TILES}.json").unlink()
    assert [node.asset for node in chain(store, [("oct/tiles", TILES)])] == ["oct/tiles"]
    (found,) = findings(store)
    assert "materialize it again" in found.got


def test_equal_origins_are_one_and_the_one_that_comes_again_counts(store):
    tiles = store.current("oct/tiles")
    first = store.provenance("oct/tiles", TILES)
    other = replace(ORIGIN, inputs={"oct/images": "9" * 16})
    store.record_provenance(tiles, other)
    assert store.provenance("oct/tiles", TILES).inputs == other.inputs
    store.record_provenance(tiles, replace(ORIGIN, inputs=first.inputs, dagster_run="run-2", git_commit="unknown"))
    assert store.provenance("oct/tiles", TILES) == first
    rows = json.loads((store.root / "origins" / "oct" / "tiles" / f"{TILES}.json").read_text())
    assert [row["inputs"] for row in rows] == [other.inputs, first.inputs]


def test_names_people_use(store, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "a.bin").write_bytes(REPORT.encode())
    tiles, report = [("oct/tiles", TILES)], [("evaluation_report", REPORT)]
    assert named(store, "oct/tiles") == named(store, TILES) == named(store, TILES[:6]) == tiles
    assert named(store, f"oct/tiles@{TILES[:8]}") == tiles
    assert named(store, "report") == named(store, "evaluation_report") == report
    assert named(store, "nothing") == named(store, "ffffff") == []
    publish(store, "oct/proxies", TILES[:6] + "0" * 26, [])
    with pytest.raises(LookupError, match=r"is the beginning of oct/proxies@.*, oct/tiles@"):
        named(store, TILES[:6])
    with pytest.raises(LookupError, match="no version of oct/tiles begins with"):
        named(store, "oct/tiles@ffffff")
    with pytest.raises(LookupError, match="holds no version of 'oct/other'"):
        named(store, "oct/other@ffffff")
    with pytest.raises(LookupError, match="at least 6 hex digits"):
        named(store, "oct/tiles@fff")
    with pytest.raises(LookupError, match="no report of this store"):
        named(store, str(copy))
    assert "oct/stage1, oct/tiles" in unknown(store, "nothing")
    assert "proxyano run" in unknown(Store(tmp_path / "empty"), "nothing")


def test_a_report_is_known_by_its_files(store, tmp_path):
    with store.building("evaluation_report", "e" * 16) as work:
        (work / "report.md").write_text("newer")
        store.publish("evaluation_report", work, "e" * 16, {})
    (tmp_path / "report.md").write_text("newer")
    assert named(store, str(tmp_path / "report.md")) == [("evaluation_report", "e" * 16)]


def test_the_closure_holds_all_that_something_was_made_from(store):
    images = store.current("oct/images")
    assert closure(store, {("oct/stage1", STAGE1)}) == {
        ("oct/stage1", STAGE1),
        ("oct/tiles", TILES),
        ("oct/images", images.data_version),
    }


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
