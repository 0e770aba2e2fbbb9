"""Own data in DICOM series, NIfTI volumes and stacks: a row a slice, one group a patient or volume, scores a volume."""

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml

from pipeline.data import checks, slices
from pipeline.data.decode import read_frames
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.read.dicom_origin import origin
from pipeline.data.splits import ImagesConfig, by_duplicates
from pipeline.data.user_datasets.dataset import Own, read_own
from pipeline.data.user_datasets.guess import guess_folders, holds_volumes
from pipeline.data.volumes import odd_volumes
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.forms import FORMS
from pipeline.store.versions import Store
from pipeline.tiles import cutting
from tests.unit.volume_files import SLICES, head, nifti, series, stack

Made = tuple[pd.DataFrame, dict[str, str], dict[str, object]]


def described(top: Path, **fields: object) -> Own:
    file = top / "home" / "ward.yaml"
    file.parent.mkdir(exist_ok=True)
    usual = {"normal": str(top / "ok"), "abnormal": str(top / "ill"), "split": {"by": "volume"}}
    file.write_text(yaml.safe_dump(usual | fields))
    return read_own(file)


def manifest(own: Own) -> Made:
    """Images, path → reason, and counts, with the checks that every lane has."""
    raw = RawFolder(own.link_folders())
    images, quarantine, counts = make_manifest(raw, own.row, ImagesConfig())
    for passed, about in (
        checks.content_once(images),
        checks.groups_apart(images),
        checks.near_duplicates_apart(images, raw, own.row),
        checks.normals_only(images),
    ):
        assert passed, about
    assert not counts["leaking"]
    return images, dict(zip(quarantine["path"], quarantine["reason"], strict=True)), counts


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normals: eight patients with two series each, two NIfTI volumes, two stacks; abnormal: a series and a volume."""
    top = tmp_path_factory.mktemp("ward")
    for patient in range(8):
        for number in range(2):
            seed = 10 * patient + number
            series(top / "ok" / f"s{seed:02d}", head(seed), f"P{patient}", f"1.2.3.{seed + 1}")
    for seed in (90, 91):
        nifti(top / "ok" / f"{seed}.nii.gz", head(seed))
        stack(top / "ok" / f"{seed}.tif", head(seed + 100))
    series(top / "ill" / "a", head(300, lesion=True), "Q1", "1.2.4.1")
    nifti(top / "ill" / "b.nii", head(301, lesion=True, air=2))
    return top


@pytest.fixture(scope="module")
def made(ward: Path) -> Made:
    return manifest(described(ward))


def test_every_slice_is_a_row_with_file_number_volume_and_gray_values(made: Made) -> None:
    images, quarantine, counts = made
    volumes = images.groupby("volume").size()
    assert len(volumes) == 16 + 2 + 2 + 2
    assert volumes.drop("abnormal/b.nii").unique().tolist() == [SLICES - 1]
    rows = images[images["volume"] == "normal/90.nii.gz"].sort_values("slice")
    assert rows["path"].tolist() == [f"normal/90.nii.gz#{number:04d}" for number in range(SLICES - 1)]
    assert rows["slice"].tolist() == list(range(SLICES - 1))
    assert set(rows["gray_values"]) == {"percentiles 0.5-99.5"}
    of_series = images[images["volume"] == "1.2.3.12"]
    assert set(of_series["gray_values"]) == {"window 512/1024"}
    assert of_series["path"].tolist() == [f"normal/s11/{number:02d}.dcm" for number in range(SLICES - 1)]
    assert len(quarantine) == counts["volumes"]["empty slices"] == 23
    assert all(reason.startswith("empty slice: ") for reason in quarantine.values())
    assert counts["volumes"]["volumes"] == {"normal": 20, "abnormal": 2}


def test_a_patient_and_a_volume_is_in_one_split(ward: Path, made: Made) -> None:
    images = made[0]
    patient = images["path"].str.extract(r"/s(\d)\d/")[0]
    assert (images.groupby(patient)["group"].nunique() == 1).all()
    assert (images.groupby(patient)["split"].nunique() == 1).all()
    assert (images.groupby("volume")["split"].nunique() == 1).all()
    assert images["group"].nunique() == 8 + 2 + 2 + 2
    assert set(images["split"]) == {"train", "val", "holdout", "test"}
    assert not images["group"].str.contains("P1").any()  # ids of patients are hashed
    torn = images.copy()
    torn.loc[torn.index[torn["split"] == "train"][0], "split"] = "val"
    assert not checks.groups_apart(torn)[0]


def test_patterns_join_what_headers_tell(ward: Path) -> None:
    split = {"by": "patient", "patient": r"^s?(\w)"}  # of s10/00.dcm 1, of 90.tif and 91.nii.gz 9
    images, *_ = manifest(described(ward, split=split))
    groups = images.groupby("volume")["group"].unique()
    assert (groups.map(len) == 1).all()
    assert len({groups[f"normal/{name}"][0] for name in ("90.nii.gz", "91.nii.gz", "90.tif", "91.tif")}) == 1
    assert images["group"].nunique() == 8 + 1 + 2


def test_duplicates_join_patients_and_volumes_and_drop_no_slice() -> None:
    table = pd.DataFrame({"image_id": [f"{number:016x}" for number in range(24)], "label": [0] * 23 + [1]})
    table = table.assign(patient="", subject=["s", "s", "", "", *[""] * 20], path=table["image_id"])
    table["volume"] = [f"v{number // 2}" for number in range(24)]
    alike = np.arange(24)
    alike[3] = alike[0]  # of v1 and v0

    def placed(**changes: object) -> pd.DataFrame:
        return by_duplicates(
            table.assign(**changes), ImagesConfig(), (0.4, 0.2, 0.2, 0.2), lambda chosen: alike[chosen]
        )

    found = placed()
    assert found["group"][:4].tolist() == ["patient-s"] * 4
    assert found["group"][4:].tolist() == [f"volume-v{number // 2}" for number in range(4, 24)]
    assert not (found["split"] == "unused").any()
    assert set(found["split"][22:]) == {"test"}  # the normal slice of a volume with an abnormal one
    alone = placed(subject="", volume="")
    assert alone["group"].nunique() == 23
    with pytest.raises(DatasetUnusable, match=r"got 0; add normals, or split by volume"):
        placed(subject="one")


def test_a_stack_in_own_data_gives_every_page(problems: Path, tmp_path: Path) -> None:
    above = problems / "22-stack-tiff-own-data" / "own"
    images, *_ = manifest(described(tmp_path, normal=str(above / "normal"), abnormal=str(above / "ill")))
    normal = images[images["label"] == 0]
    assert (len(normal), normal["volume"].nunique(), normal["group"].nunique()) == (14, 7, 7)
    assert set(images["volume"][images["label"] == 1]) == {""}


def test_data_without_volumes_has_no_new_column(tmp_path: Path) -> None:
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 1000, (1, 8, 8)).repeat(8, axis=1).repeat(8, axis=2)
        stack(tmp_path / "ok" / f"{number}.tif", noise)
    stack(tmp_path / "ill" / "x.tif", head(50, lesion=True)[2:3])
    images, quarantine, counts = manifest(described(tmp_path, split={"by": "duplicates"}))
    assert not {"volume", "slice", "gray_values"} & set(images)
    assert images["path"][0].endswith(".tif")
    assert "volumes" not in counts
    assert quarantine == {}


def test_an_archive_gives_the_same_rows_and_a_damaged_volume_its_reason(tmp_path: Path, ward: Path, made: Made) -> None:
    shutil.copytree(ward / "ill", tmp_path / "ill")
    (tmp_path / "ok").mkdir()
    with zipfile.ZipFile(tmp_path / "ok" / "all.zip", "w") as packed:
        for path in sorted((ward / "ok").rglob("*.*")):
            packed.write(path, path.relative_to(ward / "ok"))
        packed.writestr("cut.nii.gz", (ward / "ok" / "90.nii.gz").read_bytes()[:-400])
        packed.writestr("cut.dcm", (ward / "ok" / "s00" / "00.dcm").read_bytes()[:-400])
    images, quarantine, _ = manifest(described(tmp_path))
    assert set(images["image_id"]) == set(made[0]["image_id"])
    assert "checksum" in quarantine["normal/all.zip!/cut.nii.gz"]
    assert quarantine["normal/all.zip!/cut.dcm"].startswith("no usable DICOM image: ")


def test_a_volume_is_read_once_when_tiles_are_cut(ward: Path, made: Made, tmp_path: Path, monkeypatch) -> None:
    opened, real = Counter[str](), slices.opened
    monkeypatch.setattr(slices, "opened", lambda raw, file: opened.update([file]) or real(raw, file))
    monkeypatch.setattr(cutting, "BATCH", 2)
    raw = RawFolder(described(ward).link_folders())
    rows = made[0].to_dict("records")
    cutter = cutting.Cutter(raw=raw, form=FORMS["plain"], lesions=(), parts=tmp_path)
    cuts = cutter.cut(rows, Store(tmp_path), title="", workers=2)
    assert [result.reason for result in cuts.results] == [""] * len(rows)
    assert set(opened.values()) == {1}
    assert max(len(list(group)) for _, group in made[0].groupby("volume")) > cutting.BATCH
    frame, sha256 = next(slices.read_slices(raw, ["normal/90.nii.gz#0003"]))
    assert sha256 == made[0].set_index("path")["sha256"]["normal/90.nii.gz#0003"]
    row = [row["path"] for row in rows].index("normal/90.nii.gz#0003")
    tile = FORMS["plain"].cut(frame.usable, {})[0].pixels
    assert np.array_equal(cuts.rows(row, row + 1)["pixels"][0], tile)


def test_slices_are_verified_by_their_file(ward: Path, made: Made, tmp_path: Path) -> None:
    raw = RawFolder(described(ward).link_folders())
    rows = made[0][made[0]["volume"] == "normal/90.nii.gz"].to_dict("records")
    assert checks._check_file(raw, "normal/90.nii.gz", rows, "images") == []
    rows[1]["sha256"] = rows[0]["sha256"]
    (finding,) = checks._check_file(raw, "normal/90.nii.gz", rows, "images")
    assert finding.where.endswith("normal/90.nii.gz#0001")


def test_packaged_files_of_pydicom_and_nibabel_are_rows_or_reasons(tmp_path: Path, ward: Path) -> None:
    shutil.copytree(ward / "ok", tmp_path / "ok")
    shutil.copytree(Path(pydicom.__file__).parent / "data" / "test_files", tmp_path / "ill" / "pydicom")
    shutil.copytree(Path(nibabel.__file__).parent / "tests" / "data", tmp_path / "ill" / "nibabel")
    own = described(tmp_path)
    raw = RawFolder(own.link_folders())
    images, quarantine, counts = make_manifest(raw, own.row, ImagesConfig())
    listed = {path for path in raw.paths() if not path.endswith((".csv", ".img"))}
    told = {slices.file_of(raw, path)[0] for path in [*images["path"], *quarantine["path"]]}
    assert listed <= told
    assert {"abnormal/pydicom/CT_small.dcm", "abnormal/pydicom/MR_small.dcm"} <= set(images["path"])
    assert "abnormal/nibabel/example4d.nii.gz" in set(images["volume"])
    assert images["path"].str.match(r"abnormal/pydicom/.*#0001").any()
    assert quarantine["reason"].str.len().min() > 5
    assert checks.groups_apart(images)[0]
    assert counts["volumes"]["odd"]


def test_noise_at_the_end_of_a_volume_is_air_and_a_dim_page_of_a_stack_is_not(tmp_path: Path) -> None:
    noisy = head(0, air=2) + np.random.default_rng(0).integers(0, 20, (SLICES, 64, 64)).astype(np.uint16)
    of_volume = [frame.kind for frame in read_frames(nifti(tmp_path / "a.nii", noisy)) if frame.pixels is None]
    series(tmp_path / "a", noisy, "P1", "1.2")
    of_series = [next(iter(read_frames(path))) for path in sorted((tmp_path / "a").iterdir())]
    assert of_volume == ["empty slice"] * 2
    assert [frame.pixels is None for frame in of_series] == [False] * 4 + [True] * 2
    assert of_series[5].reason == "less than 1% of the pixels is brighter than 16 of 255: air"
    assert all(frame.pixels is not None for frame in read_frames(stack(tmp_path / "a.tif", noisy % 40)))


def test_patients_are_told_by_id_study_or_series_and_damaged_elements_tell_nothing(tmp_path: Path) -> None:
    told = {"PatientID": "Anonymous", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}
    subjects = {origin(told | more).subject for more in ({}, {"PatientID": "7"}, {"StudyInstanceUID": ""})}
    assert len(subjects) == 3
    assert origin(told).subject == origin(told | {"SeriesInstanceUID": "1.2.4", "PatientID": ""}).subject
    nothing = origin({"ImageOrientationPatient": [0] * 6, "PixelSpacing": [0, 1]})
    assert (nothing.subject, nothing.plane, np.isnan(nothing.pixel)) == ("", "", True)
    path = series(tmp_path, head(0, air=0), "P1", "1.2", SliceThickness=4.125) / "02.dcm"
    content = path.read_bytes()
    assert content.count(b"4.125 ") == 1
    path.write_bytes(content.replace(b"4.125 ", b"4.1x5 "))
    (frame,) = read_frames(path)
    assert frame.usable.shape == (64, 64)
    assert np.isnan(frame.origin.spacing)
    assert (frame.origin.plane, frame.origin.pixel) == ("axial", 2)


def test_a_volume_unlike_the_rest_is_named() -> None:
    table = pd.DataFrame({"volume": [*"aabbcc", ""], "plane": ["axial"] * 4 + ["sagittal"] * 2 + ["coronal"]})
    table = table.assign(pixel=[1.0, 1, 1, 1, 1.9, 1.9, 9], spacing=[2.0, 2, 4, 4, 9, 9, 99])
    assert odd_volumes(table) == {"c": "sagittal, and most are axial; slices 9 mm apart, the median is 4"}
    assert odd_volumes(table.assign(plane="", pixel=np.nan, spacing=np.nan)) == {}


def test_a_sagittal_nifti_volume_is_told_by_its_spacing(tmp_path: Path) -> None:
    for number in range(7):
        nifti(tmp_path / "ok" / f"{number}.nii", head(number, air=0), (1, 1, 2))
    nifti(tmp_path / "ill" / "x.nii", np.repeat(head(9, lesion=True, air=0), 8, axis=0), (7, 1, 1))
    _, _, counts = manifest(described(tmp_path))
    assert counts["volumes"]["odd"] == {
        "abnormal/x.nii": "sagittal, and most are axial; slices 7 mm apart, the median is 2"
    }


def test_folders_and_split_are_guessed(ward: Path, tmp_path: Path) -> None:
    for name in ("Healthy", "glioma", "stroke", "masks", "@eaDir"):
        (tmp_path / name).mkdir()
    normal, classes, masks = guess_folders(tmp_path)
    assert (normal.name, list(classes), masks) == ("Healthy", ["glioma", "stroke"], ["masks"])
    with pytest.raises(ConfigError, match=r"one folder named normal, .*, got (home, )?ill, ok"):
        guess_folders(ward)
    own = described(ward)
    assert holds_volumes(own, RawFolder(own.link_folders()))
