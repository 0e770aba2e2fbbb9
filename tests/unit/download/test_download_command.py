"""``proxyano download``: a server of this machine, archives in the official layouts, exit codes and advice."""

import io
import json
import tarfile
import zipfile
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.data.datasets import DATASETS, look
from pipeline.data.download.fetch import CHECKSUMS, UNPACKED
from pipeline.data.download.sources import BRAIN_MRI, IDRID, SOURCES, RemoteFile

TRAIN, CSV = "a. Training Set", "2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
MASK = f"A. Segmentation/2. All Segmentation Groundtruths/{TRAIN}/1. Microaneurysms/IDRiD_01_MA.tif"
GRADES = b"Image name,Retinopathy grade,\r\nIDRiD_001,0,\r\nIDRiD_002,3,\r\n"
MEMBERS = {
    "idrid/A. Segmentation.zip": {f"A. Segmentation/1. Original Images/{TRAIN}/IDRiD_01.jpg": b"a" * 5000, MASK: b"m"},
    "idrid/B. Disease Grading.zip": {
        f"B. Disease Grading/1. Original Images/{TRAIN}/IDRiD_001.jpg": b"b",
        f"B. Disease Grading/1. Original Images/{TRAIN}/IDRiD_002.jpg": b"c",
        f"B. Disease Grading/{CSV}": GRADES,
    },
    "oct/OCT2017.tar.gz": {
        "OCT2017/train/NORMAL/NORMAL-1-1.jpeg": b"a",
        "OCT2017/train/CNV/CNV-2-1.jpeg": b"b",
        "OCT2017/test/DME/DME-3-1.jpeg": b"c",
        "OCT2017/test/DME/DME-3-2.jpeg": b"d",
    },
    "brain_mri/sartaj.zip": {"Training/no_tumor/1.jpg": b"a", "Testing/glioma_tumor/image(1).jpg": b"b"},
    "brain_mri/br35h.zip": {"no/no1.jpg": b"a", "yes/y1.jpg": b"b"},
}
"""Archives as they are downloaded, by their path below a mirror: official names, contents that nobody decodes."""
COUNTS = {
    "idrid": {"A/train": {"diabetic_retinopathy": 1}, "B/train": {"normal": 1}},
    "oct": {"train": {"normal": 1}, "test": {"DME": 2}},
    "brain_mri": {"sartaj/Training": {"normal": 1}, "sartaj/Testing": {"glioma": 1}, "br35h/no": {"normal": 1}},
}


def packed(path: str) -> bytes:
    buffer = io.BytesIO()
    if path.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in MEMBERS[path].items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, data in MEMBERS[path].items():
                item = tarfile.TarInfo(name)
                item.size = len(data)
                tar.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    return {path: packed(path) for path in MEMBERS}


@pytest.fixture
def run(files, archives, tmp_path, monkeypatch):
    """Call the command on a mirror of these archives; the exit code, and all that was said in one line."""
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROXYANO_RAW", str(tmp_path / "raw"))
    for name, source in SOURCES.items():  # the mirror's files are not those of the table
        known = tuple(RemoteFile(name=file.name, url=file.url) for file in source.files)
        monkeypatch.setitem(SOURCES, name, type(source)(files=known, page=source.page, steps=source.steps))
    files.content |= archives

    def call(*words: str, mirror: bool = True) -> tuple[int, str]:
        found = CliRunner().invoke(app, ["download", *words, *(["--url", files.url] if mirror else [])])
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return found.exit_code, " ".join(found.output.split())

    return call


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_data_set_comes_and_the_lane_finds_it(run, tmp_path, name):
    code, said = run(name)
    assert code == 0, said
    folder = tmp_path / "raw" / name
    assert sorted(p.name for p in folder.iterdir()) == sorted([CHECKSUMS, *(f.name for f in SOURCES[name].files)])
    found = look(DATASETS[name], folder)
    assert found.usable
    assert found.counts == COUNTS[name]
    for part, classes in found.counts.items():
        for klass, count in classes.items():
            assert f"│ {part} │ {klass} │ {count} │ {DATASETS[name].official[part][klass]} │" in said
    assert "seen for the first time, recorded" in said
    again, said = run(name)
    assert again == 0
    assert "agrees with checksums.json" in said


def test_unpacking_leaves_the_same_images(run, tmp_path):
    run("idrid")
    packed = look(DATASETS["idrid"], tmp_path / "raw" / "idrid").counts
    code, said = run("idrid", "--extract")
    folder = tmp_path / "raw" / "idrid"
    assert code == 0, said
    assert sorted(p.name for p in folder.iterdir()) == [UNPACKED, "A. Segmentation", "B. Disease Grading", CHECKSUMS]
    assert look(DATASETS["idrid"], folder).counts == packed
    assert "not there" not in said
    assert run("idrid", "--extract")[0] == 0


def test_what_did_not_come_can_be_tried_again(run, files):
    files.answers = [(404, {})]
    code, said = run("oct")
    assert code == 1
    assert "expected the file, got HTTP 404" in said
    assert "By hand: 1. Open https://data.mendeley.com" in said
    assert run("oct")[0] == 0


def test_another_file_than_recorded_is_refused(run, files, tmp_path):
    run("oct")
    (tmp_path / "raw" / "oct" / "OCT2017.tar.gz").unlink()
    files.content["oct/OCT2017.tar.gz"] += b"more"
    code, said = run("oct")
    assert code == 3
    assert "it was removed; run the same command again" in said
    assert [p.name for p in (tmp_path / "raw" / "oct").iterdir() if p.name != ".download"] == [CHECKSUMS]


def test_a_login_gives_steps_then_checks_and_records_what_was_placed(run, archives, tmp_path):
    folder = tmp_path / "raw" / "brain_mri"
    code, said = run("brain_mri", mirror=False)
    assert code == 4
    assert f"save the file as {folder}/sartaj.zip" in said
    assert f"5. proxyano download brain_mri --into '{tmp_path / 'raw'}' --check" in said
    folder.mkdir(parents=True)
    (folder / "archive.zip").write_bytes(archives["brain_mri/sartaj.zip"])  # Kaggle's own name
    code, said = run("brain_mri", mirror=False)
    assert code == 0, said
    assert "sartaj.zip: not there" in said
    assert "archive.zip" in json.loads((folder / CHECKSUMS).read_text())
    (folder / "archive.zip").write_bytes(archives["brain_mri/br35h.zip"])
    code, said = run("brain_mri", "--check")
    assert code == 3
    assert "archive.zip: expected sha256:" in said


def test_two_archives_of_one_name_are_told_apart(run, archives, tmp_path):
    folder = tmp_path / "raw" / "brain_mri"
    for source in ("sartaj", "br35h"):
        (folder / source).mkdir(parents=True)
        (folder / source / "archive.zip").write_bytes(archives[f"brain_mri/{source}.zip"])
    assert run("brain_mri", mirror=False)[0] == 0
    assert sorted(json.loads((folder / CHECKSUMS).read_text())) == ["br35h/archive.zip", "sartaj/archive.zip"]
    code, said = run("brain_mri", "--extract", mirror=False)
    assert code == 0, said
    assert (folder / UNPACKED / "sartaj" / "archive.zip").is_file()
    assert look(DATASETS["brain_mri"], folder).counts == COUNTS["brain_mri"]


def test_normals_alone_are_not_enough(run, archives, tmp_path):
    folder = tmp_path / "raw" / "brain_mri"
    folder.mkdir(parents=True)
    (folder / "br35h.zip").write_bytes(archives["brain_mri/br35h.zip"])
    code, said = run("brain_mri", "--check")
    assert code == 4
    assert "expected normal and abnormal images, found only some of them" in said


def test_a_damaged_archive_is_named(run, tmp_path):
    run("idrid")
    path = tmp_path / "raw" / "idrid" / "A. Segmentation.zip"
    content = bytearray(path.read_bytes())
    content[1_000:1_100] = bytes(100)
    path.write_bytes(content)
    (path.parent / CHECKSUMS).unlink()
    code, said = run("idrid", "--check")
    assert code == 3
    assert "A. Segmentation.zip" in said
    assert "damaged" in said or "cannot be read to its end" in said


def test_check_alone_looks_at_all_and_writes_nothing(run, tmp_path):
    run("idrid")
    before = sorted(p for p in tmp_path.rglob("*"))
    code, said = run("--check")
    assert code == 4  # two of three are not there
    assert "Nothing is there" in said
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_folders_that_hold_everything_need_no_download(run, files, tmp_path, monkeypatch):
    for path, data in (MEMBERS["idrid/A. Segmentation.zip"] | MEMBERS["idrid/B. Disease Grading.zip"]).items():
        (tmp_path / "raw" / "idrid" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / "idrid" / path).write_bytes(data)
    monkeypatch.setitem(DATASETS, "idrid", replace(DATASETS["idrid"], official=COUNTS["idrid"]))
    code, said = run("idrid")
    assert code == 0, said
    assert "nothing to download" in said
    assert files.asked == []


@pytest.mark.parametrize("words", [["nothing"], []])
def test_a_wrong_name_says_which_there_are(run, words):
    code, said = run(*words)
    assert code == 2
    assert "expected one of brain_mri, oct, idrid" in said


def test_no_folder_to_download_into_is_a_wrong_call(run, monkeypatch):
    monkeypatch.delenv("PROXYANO_RAW")
    code, said = run("oct")
    assert code == 2
    assert "set PROXYANO_RAW or give --into DIR" in said


def test_the_table_names_the_files_that_the_steps_name():
    for source in (IDRID, BRAIN_MRI):
        assert all(any(file.name in step for step in source.steps) for file in source.files)
