"""Official layouts, wherever they lie, become the right candidates."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.data.datasets import DATASETS
from pipeline.data.layouts import read_grades
from pipeline.data.raw import RawFolder
from pipeline.errors import DatasetUnusable


def touch(root: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content or name.encode())


def keys(root: Path, dataset: str) -> set[str]:
    return {item.key for item in DATASETS[dataset].scan(RawFolder(root))}


OCT = (
    "OCT2017/train/NORMAL/NORMAL-12-3.jpeg",
    "OCT2017/train/NORMAL/normal_train_7.jpg",
    "OCT2017/test/CNV/CNV-4-1.jpeg",
)
LABELS = "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"
CSV = b"Image name, Retinopathy  grade ,Risk of macular edema ,,,\r\nIDRiD_001,0,1,,,\r\nIDRiD_002,3,1,,,\r\n,,,,,\r\n"
MASKS = "A. Segmentation/2. All Segmentation Groundtruths/a. Training Set"


@pytest.fixture
def idrid(tmp_path: Path) -> Path:
    touch(
        tmp_path,
        "A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg",
        f"{MASKS}/1. Microaneurysms/IDRiD_01_MA.tif",
        f"{MASKS}/3. Hard Exudates/IDRiD_01_EX.tif",
        f"{MASKS}/5. Optic Disc/IDRiD_01_OD.tif",
        "B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg",
        "B. Disease Grading/1. Original Images/a. Training Set/IDRiD_002.jpg",
    )
    touch(tmp_path, LABELS, content=CSV)
    return tmp_path


def test_oct_names_carry_patient_or_order(tmp_path: Path) -> None:
    touch(tmp_path, *OCT, "OCT2017/train/CNV/CNV-9-1.jpeg", "chest_xray/train/NORMAL/NORMAL-99-1.jpeg")
    found = {item.key: item for item in DATASETS["oct"].scan(RawFolder(tmp_path))}
    assert set(found) == {name.removeprefix("OCT2017/") for name in OCT}
    assert found["train/NORMAL/NORMAL-12-3.jpeg"].patient == "12"
    assert found["train/NORMAL/normal_train_7.jpg"].order == 7
    assert found["test/CNV/CNV-4-1.jpeg"].klass == "CNV"


@pytest.mark.parametrize("prefix", ["", "CellData/OCT/", "OCT2017 /", "deep/down/OCT2017/"])
def test_oct_is_found_wherever_it_lies(tmp_path: Path, prefix: str) -> None:
    touch(tmp_path, *(prefix + name.removeprefix("OCT2017/") for name in OCT))
    assert len(keys(tmp_path, "oct")) == 3


def test_a_download_packed_and_unpacked_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, *OCT)
    shutil.make_archive(str(tmp_path / "OCT2017"), "gztar", tmp_path, "OCT2017")
    found = DATASETS["oct"].scan(RawFolder(tmp_path))
    assert [item.path for item in found] == sorted(OCT)


def test_the_same_name_with_another_content_is_another_image(tmp_path: Path) -> None:
    touch(tmp_path, OCT[0], content=b"one image")
    touch(tmp_path, f"other/{OCT[0]}", content=b"two image")
    assert len(DATASETS["oct"].scan(RawFolder(tmp_path))) == 2


def test_idrid_reads_grades_and_masks(idrid: Path) -> None:
    found = {item.key: item for item in DATASETS["idrid"].scan(RawFolder(idrid))}
    assert set(found) == {"A/train/IDRiD_01", "B/train/IDRiD_001"}
    assert list(found["A/train/IDRiD_01"].masks) == ["MA", "EX"]


def test_idrid_in_the_archives_as_downloaded(idrid: Path) -> None:
    expected = keys(idrid, "idrid")
    for part in ("A. Segmentation", "B. Disease Grading"):
        with zipfile.ZipFile(idrid / f"{part}.zip", "w") as archive:
            for path in sorted((idrid / part).rglob("*.*")):
                if path.is_file():
                    archive.write(path, path.relative_to(idrid))
        shutil.rmtree(idrid / part)
    assert keys(idrid, "idrid") == expected
    masks = next(item.masks for item in DATASETS["idrid"].scan(RawFolder(idrid)) if item.masks)
    assert masks["MA"].startswith("A. Segmentation.zip!/A. Segmentation/2. All")


@pytest.mark.parametrize("header", [b"Image name,Grade,,", b"Retinopathy grade,Name", b""])
def test_a_missing_column_says_expected_and_got(idrid: Path, header: bytes) -> None:
    (idrid / LABELS).write_bytes(header + b"\r\nIDRiD_001,0,,\r\n")
    with pytest.raises(
        DatasetUnusable, match=r"Training Labels\.csv: expected the columns 'Image name' and 'Retin.*got"
    ):
        DATASETS["idrid"].scan(RawFolder(idrid))


def test_a_grade_that_is_no_number_names_its_line(idrid: Path) -> None:
    (idrid / LABELS).write_bytes(b"Image name,Retinopathy grade\r\nIDRiD_001,none\r\n")
    with pytest.raises(DatasetUnusable, match="line 2: expected a grade from 0 to 4, got 'none'"):
        read_grades(RawFolder(idrid), LABELS)


def test_a_missing_label_file_is_named(idrid: Path) -> None:
    (idrid / LABELS).unlink()
    with pytest.raises(DatasetUnusable, match=r"expected a file '.*Training Labels\.csv', got none"):
        DATASETS["idrid"].scan(RawFolder(idrid))


def test_brain_mri_takes_both_sources_packed_or_not(tmp_path: Path) -> None:
    touch(tmp_path, "sartaj/Testing/glioma_tumor/image(1).jpg", "Training/no_tumor/image (2).jpg", "yes/y1.jpg")
    with tarfile.open(tmp_path / "br35h.tar.gz", "w:gz") as tar:
        touch(tmp_path, "scratch.jpg")
        tar.add(tmp_path / "scratch.jpg", "no/No12.jpg")
    assert keys(tmp_path, "brain_mri") == {
        "sartaj/Testing/glioma/image(1).jpg",
        "sartaj/Training/normal/image (2).jpg",
        "br35h/no/No12.jpg",
    }


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_row_is_whole(name: str) -> None:
    row = DATASETS[name]
    assert row.name == name
    assert row.classes[0] == "normal"
    assert {klass for part in row.official.values() for klass in part} == set(row.classes)
    assert sum(row.shares) == pytest.approx(1)
    assert row.layout
    assert row.licence
    assert row.url.startswith("https://")


def test_real_layouts_are_found_whole(real_raw: Path) -> None:
    found = {name: DATASETS[name].scan(RawFolder(real_raw / name)) for name in DATASETS}
    count = {name: [sum(i.klass == "normal" for i in items), len(items)] for name, items in found.items()}
    assert count == {"oct": [957 + 250, 1957], "idrid": [134, 188], "brain_mri": [900, 1400]}
