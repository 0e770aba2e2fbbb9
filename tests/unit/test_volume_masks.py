"""Masks of volumes: one for each slice, at the same place, or named with the reason."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from pipeline.data import checks
from pipeline.data.decode import read_frames
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.slices import read_mask
from pipeline.data.splits import ImagesConfig
from pipeline.data.user_datasets.dataset import Own
from pipeline.forms import FORMS
from pipeline.store.versions import Store
from pipeline.tiles import cutting
from tests.unit.test_volumes import described
from tests.unit.volume_files import SIDE, SLICES, head, nifti, series, stack

SPACING = (2.0, 2.0, 4.0)


def lesion(value: int = 1) -> np.ndarray:
    """Marks (SLICES, SIDE, SIDE) where ``head`` draws a lesion."""
    ys, xs = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    marks = np.zeros((SLICES, SIDE, SIDE), np.uint16)
    marks[2:4, np.hypot(ys + 6, xs - 5) < 6] = value
    return marks


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    for number in range(7):
        nifti(tmp_path / "ok" / f"{number}.nii", head(number))
    return tmp_path


def manifest(top: Path, **fields: object) -> tuple[Own, RawFolder, pd.DataFrame, dict[str, str]]:
    own = described(top, masks=str(top / "masks"), **fields)
    raw = RawFolder(own.link_folders())
    images, quarantine, _ = make_manifest(raw, own.row, ImagesConfig())
    assert checks.mask_sizes(images, raw)[0]
    return own, raw, images, dict(zip(quarantine["path"], quarantine["reason"], strict=True))


def test_a_nifti_mask_marks_slice_by_slice_whatever_its_orientation_and_suffix(ward: Path) -> None:
    nifti(ward / "ill" / "a.nii.gz", head(9, lesion=True))
    mask = nifti(ward / "masks" / "a_seg.nii", lesion(4))
    turned = nibabel.load(mask).as_reoriented([[1, -1], [0, 1], [2, -1]])
    nibabel.save(nibabel.Nifti1Image(np.array(turned.dataobj), turned.affine), mask)
    _, raw, images, _ = manifest(ward, mask_suffix="_seg")
    rows = images[images["label"] == 1].sort_values("slice")
    assert len(rows) == SLICES - 1
    frames = {frame.number: frame.pixels for frame in read_frames(ward / "ill" / "a.nii.gz")}
    for row in rows.to_dict("records"):
        (path,) = json.loads(row["masks"]).values()
        assert path == f"masks/lesion/a_seg.nii#{row['slice']:04d}"
        marked, rule = read_mask(raw, path).marked((SIDE, SIDE))
        assert rule == "two values"
        assert marked.any() == (row["slice"] in (2, 3))
        if marked.any():
            assert frames[row["slice"]][marked].min() == 255  # the lesion is the brightest
    assert rows["masks_sha256"].nunique() == len(rows)
    findings = checks._check_file(raw, "abnormal/a.nii.gz", rows.to_dict("records"), "images")
    assert findings == []


def test_tiles_hold_the_marks_of_their_slice(ward: Path, tmp_path: Path) -> None:
    stack(ward / "ill" / "a.tif", head(9, lesion=True))
    stack(ward / "masks" / "a.tif", lesion(1023))
    own, raw, images, _ = manifest(ward)
    rows = images[images["label"] == 1].to_dict("records")
    cutter = cutting.Cutter(raw=raw, form=FORMS["plain"], lesions=own.row.lesions, parts=tmp_path / "parts")
    cuts = cutter.cut(rows, Store(tmp_path), title="", workers=1)
    assert [result.reason for result in cuts.results] == [""] * len(rows)
    marked = cuts.rows(0, len(rows))["lesions"].any(axis=(1, 2, 3))
    assert [row["slice"] for row, some in zip(rows, marked, strict=True) if some] == [2, 3]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("fewer", "expected a mask of 6 slices like its image, got 4"),
        ("smaller", "px like its image"),
        ("moved", "orientation and place of its image"),
        ("turned", "orientation and place of its image"),
        ("unknown", "format and orientation of its image"),
        ("stack", "format and orientation of its image"),
        ("four", "expected a mask of one volume"),
        ("inverted", "expected at most 90%"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(ward: Path, kind: str, reason: str) -> None:
    nifti(ward / "ill" / "a.nii", head(9, lesion=True))
    nifti(ward / "ill" / "b.nii", head(8, lesion=True))
    nifti(ward / "masks" / "b.nii", lesion())
    mask, at = nifti(ward / "masks" / "a.nii", lesion()), np.diag([*SPACING, 1.0])
    marks = np.transpose(lesion(), (2, 1, 0)).astype(np.int16)
    if kind == "fewer":
        nifti(mask, lesion()[:4])
    elif kind == "smaller":
        nifti(mask, lesion()[:, :60])
    elif kind == "moved":
        at[0, 3] = 5
        nibabel.save(nibabel.Nifti1Image(marks, at), mask)
    elif kind == "turned":
        nibabel.save(nibabel.Nifti1Image(marks, np.diag([-1.0, 1, 1, 1]) @ at), mask)
    elif kind == "unknown":
        image = nibabel.Nifti1Image(marks, None)
        image.header["pixdim"][1:4] = 0
        image.header.set_sform(np.zeros((4, 4)), code=1)
        nibabel.save(image, mask)
    elif kind == "stack":
        mask.unlink()
        stack(ward / "masks" / "a.tif", lesion(1023))
    elif kind == "four":
        nibabel.save(nibabel.Nifti1Image(np.stack([marks] * 2, axis=-1), at), mask)
    elif kind == "inverted":
        nifti(mask, 1 - lesion())
    _, _, images, quarantine = manifest(ward)
    assert set(images["volume"][images["label"] == 1]) == {"abnormal/b.nii"}
    (name,) = (name for name in quarantine if name.startswith("masks/"))
    assert reason in quarantine[name]
    assert quarantine["abnormal/a.nii"].endswith("a missing lesion would count as normal")


def test_masks_of_dicom_slices_are_read_and_segmentations_named(ward: Path) -> None:
    series(ward / "ill" / "a", head(9, lesion=True), "Q", "1.2.9")
    series(ward / "masks" / "a", lesion(), "Q", "1.2.10")
    segmentation = "1.2.840.10008.5.1.4.1.1.66.4"
    series(ward / "masks" / "other", lesion(), "Q", "1.2.11", SOPClassUID=segmentation)
    (ward / "masks" / "other" / "00.dcm").rename(ward / "masks" / "a" / "01.dcm")
    _, raw, images, quarantine = manifest(ward)
    rows = images[images["label"] == 1].sort_values("path")
    assert rows["path"].tolist() == [f"abnormal/a/{number:02d}.dcm" for number in (0, 2, 3, 4)]
    counts = [read_mask(raw, f"masks/lesion/a/{n:02d}.dcm").marked((SIDE, SIDE))[0].sum() for n in (0, 2, 3)]
    assert (counts[0], counts[1]) == (0, counts[2])
    assert counts[1] == lesion()[2].sum()
    assert "segmentation or registration; as masks" in quarantine["masks/lesion/a/01.dcm"]
