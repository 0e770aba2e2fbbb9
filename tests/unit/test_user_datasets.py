"""Data sets of the user's own: what a description may say, which images and masks it finds, who stands where."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.data import checks
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.data.sample.files import jpeg, tiff
from pipeline.data.splits import ImagesConfig
from pipeline.data.user_datasets.dataset import Own, own_datasets, read_own, refused
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.forms import FORMS

SHAPE = (48, 64)
USUAL = {"normal": "../data/ok", "abnormal": "../data/ill"}
Describe = Callable[..., Own]


def put(path: Path, seed: int, mirrored: bool = False) -> None:
    """A picture like no other, or the mirrored picture of the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((8, 8), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)))


def mark(path: Path, rows: int = SHAPE[0]) -> None:
    spot = np.zeros((rows, SHAPE[1]), bool)
    spot[3:7, 4:9] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiff(spot))


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Twelve normals of six patients, four abnormal images."""
    for i in range(12):
        put(tmp_path / "data" / "ok" / f"P{i // 2}" / f"{i}.jpg", i)
    for i in range(4):
        put(tmp_path / "data" / "ill" / f"Q{i}" / "scan.jpg", 100 + i)
    return tmp_path / "data"


@pytest.fixture
def describe(tmp_path: Path, there: Path) -> Describe:
    """Write a description beside the data and read it."""

    def write(name: str = "clinic", **fields: object) -> Own:
        file = tmp_path / "home" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(USUAL | fields, sort_keys=False))
        return read_own(file)

    return write


def opened(own: Own) -> RawFolder:
    return RawFolder(own.link_folders())


def manifest(own: Own, **config: object) -> tuple[pd.DataFrame, dict[str, str]]:
    """Images, and path → reason of the quarantine, with the checks that every lane has."""
    raw = opened(own)
    images, quarantine, counts = make_manifest(raw, own.row, ImagesConfig(**config))  # type: ignore[arg-type]
    for passed, about in (
        checks.content_once(images),
        checks.groups_apart(images),
        checks.near_duplicates_apart(images, raw, own.row),
        checks.normals_only(images),
        checks.mask_sizes(images, raw),
    ):
        assert passed, about
    assert not counts["leaking"]
    return images, dict(zip(quarantine["path"], quarantine["reason"], strict=True))


def places(images: pd.DataFrame) -> dict[str, str]:
    return dict(zip(images["path"], images["split"], strict=True))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"nromal": "x"}, r"clinic\.yaml: nromal: expected one of the fields title, normal, .*, got another"),
        ({"normal": 3}, r"clinic\.yaml: normal\.0: .*path.*, got 3"),
        ({"normal": []}, r"clinic\.yaml: normal: .*at least 1 item.*, got \[\]"),
        ({"abnormal": {"normal": "x"}}, r"clinic\.yaml: abnormal: expected names .* other than 'normal'"),
        ({"form": "round"}, r"clinic\.yaml: form: expected one of bruch_membrane, .*, got 'round'"),
        ({"split": {"by": "day"}}, r"split\.by: expected 'duplicates', 'patient', 'volume' or 'folder', got 'day'"),
        ({"split": {"by": "patient"}}, r"split: expected `patient`, a regular expression"),
        ({"split": {"by": "patient", "patient": "P("}}, r"split\.patient: expected a regular expression .*got 'P\('"),
        ({"split": {"by": "patient", "patient": "P1"}}, r"with one group in brackets, it has 0, got 'P1'"),
        ({"split": {"by": "folder", "folders": {"train": "a"}}}, r"split: expected `folders` with at least train and"),
        ({"split": {"folders": {"train": "a"}}}, r"`folders` only beside `by: folder`"),
        ({"split": {"patient": "(.)"}}, r"split: expected `patient` only beside .*, got `by: duplicates`"),
        (
            {"split": {"look_alikes": False}},
            r"split: expected `by: patient` or `by: folder` beside `look_alikes: false`",
        ),
        ({"split": {"middle": 0}}, r"split\.middle: .*greater than 0, got 0"),
        ({"split": {"way": "x"}}, r"split\.way: expected one of the fields by, patient, folders"),
        ({"shares": [0.5, 0.5, 0.5, 0.5]}, r"shares: .*of sum 1"),
        ({"shares": [0.5, 0.25, 0.25, 0]}, r"shares: expected a share above 0"),
        ({"training": {"size": 100}}, r"training\.size: expected a multiple of 16, got 100"),
        ({"training": {"steps": 1}}, r"training\.steps: .*, got 1"),
        ({"normal": ["../data/ok", "../data/ok"]}, r"normal/1 and normal/2: expected two folders, got .*ok twice"),
    ],
)
def test_a_wrong_field_is_named_with_file_expectation_and_value(describe: Describe, fields, told) -> None:
    with pytest.raises(ConfigError, match=told):
        describe(**fields)


def test_a_missing_field_and_a_broken_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "clinic.yaml"
    for text, told in (
        ("abnormal: /x", r"clinic\.yaml: normal: expected a value, got none"),
        ("normal: [", r"clinic\.yaml: expected a readable YAML file, got: .*line 1"),
        ("- a", r"clinic\.yaml: expected fields and values .* got list"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_own(file)


@pytest.mark.parametrize(
    "name", ["oct", "oct_plain", "reports", "benchmark", "Clinic", "1a", "a__b", "a_", "a-b", "", "x" * 41]
)
def test_names_that_cannot_be(name: str, describe: Describe) -> None:
    assert refused(name)
    if name:
        with pytest.raises(ConfigError, match="expected a name"):
            describe(name)


def test_names_that_can_be_and_all_of_a_folder(describe: Describe, tmp_path: Path) -> None:
    assert not any(refused(name) for name in ("clinic", "ward_7", "a"))
    own = [describe("ward_7"), describe("clinic")]
    assert own_datasets(tmp_path / "home") == [own[1], own[0]]
    assert own_datasets(tmp_path / "nowhere") == []


def test_by_duplicates_look_alikes_stay_together_and_abnormal_images_are_test(there: Path, describe: Describe) -> None:
    for i in (0, 3, 5):
        put(there / "ok" / "again" / f"{i}.jpg", i, mirrored=True)
    images, _ = manifest(describe())
    where = places(images)
    groups = images.set_index("path")["group"]
    for i in (0, 3, 5):
        assert groups[f"normal/P{i // 2}/{i}.jpg"] == groups[f"normal/again/{i}.jpg"]
    assert {split for path, split in where.items() if path.startswith("abnormal/")} == {"test"}
    assert {"train", "val", "holdout", "test"} <= set(where.values())
    assert places(manifest(describe(), split_seed=1)[0]) != where


def test_by_patient_one_patient_stands_in_one_split_and_is_tested_with_the_abnormal(
    there: Path, describe: Describe
) -> None:
    put(there / "ill" / "P4" / "scan.jpg", 200)
    put(there / "ok" / "nobody.jpg", 201)
    images, quarantine = manifest(describe(split={"by": "patient", "patient": r"^([PQ]\d)/"}))
    images = images.assign(patient=images["path"].str.extract(r"/([PQ]\d)/")[0])
    assert (images.groupby("patient")["split"].nunique() == 1).all()
    assert set(images["split"][images["patient"] == "P4"]) == {"test"}
    assert list(quarantine) == ["normal/nobody.jpg"]
    assert r"no patient's id: expected a path that fits ^([PQ]\d)/, got nobody.jpg" in quarantine["normal/nobody.jpg"]


def test_by_patient_look_alikes_join_patients_where_asked_for(there: Path, describe: Describe) -> None:
    put(there / "ok" / "P5" / "twin.jpg", 0, mirrored=True)  # of P0
    rule = {"by": "patient", "patient": r"^([PQ]\d)/"}
    apart = manifest(describe(split=rule))[0].set_index("path")["group"]
    joined = manifest(describe(split=rule | {"look_alikes": True}))[0].set_index("path")["group"]
    assert apart["normal/P0/0.jpg"] != apart["normal/P5/10.jpg"]
    assert joined["normal/P0/0.jpg"] == joined["normal/P0/1.jpg"] == joined["normal/P5/10.jpg"] == "patient-P0"


def test_by_folder_the_user_decides_and_what_is_tested_teaches_nothing(tmp_path: Path, describe: Describe) -> None:
    above = tmp_path / "data" / "sets"
    for number, (split, count) in enumerate({"train": 8, "val": 3, "holdout": 2, "test": 3, "spare": 2}.items()):
        for i in range(count):
            put(above / split / f"{i}.jpg", 1000 * number + i)
    put(above / "train" / "leak.jpg", 3000, mirrored=True)  # of the first test image
    folders = {split: split for split in ("train", "val", "holdout", "test")}
    rule = {"by": "folder", "folders": folders}
    where = places(manifest(describe(normal="../data/sets", split=rule))[0])
    assert where.pop("normal/train/leak.jpg") == "unused"
    normal = {path: split for path, split in where.items() if path.startswith("normal/")}
    assert len(normal) == 16
    assert all(path.split("/")[1] == split for path, split in normal.items())
    rule["folders"] = {"train": ["train", "val"], "test": "test"}
    dealt = places(manifest(describe(normal="../data/sets", split=rule))[0])
    taught = [split for path, split in dealt.items() if path.startswith("normal/train/")]
    assert set(taught) == {"train", "val", "holdout", "unused"}
    assert len(taught) == 12
    assert not any("spare" in path for path in dealt)


def test_masks_are_found_by_the_name_of_their_image(there: Path, describe: Describe) -> None:
    for i in range(3):
        mark(there / "truth" / f"Q{i}" / "scan_mask.tif")
    mark(there / "truth" / "Q3" / "scan_mask.tif", rows=40)
    mark(there / "more" / "Q1" / "scan_mask.png")
    own = describe(masks={"cyst": "../data/truth", "scar": "../data/more"}, mask_suffix="_mask")
    images, quarantine = manifest(own)
    found = dict(zip(images["path"], images["masks"], strict=True))
    assert found["abnormal/Q0/scan.jpg"] == '{"cyst": "masks/cyst/Q0/scan_mask.tif"}'
    both = '{"cyst": "masks/cyst/Q1/scan_mask.tif", "scar": "masks/scar/Q1/scan_mask.png"}'
    assert found["abnormal/Q1/scan.jpg"] == both
    assert found["normal/P0/0.jpg"] == "{}"
    assert set(quarantine) == {"abnormal/Q3/scan.jpg", "masks/cyst/Q3/scan_mask.tif"}
    assert "expected a mask of 64×48 px like its image, got 64×40" in quarantine["masks/cyst/Q3/scan_mask.tif"]


def test_masks_may_lie_among_the_images_or_below_a_folder_of_their_class(there: Path, describe: Describe) -> None:
    mark(there / "ill" / "truth" / "flu" / "Q0" / "scan.png")
    mark(there / "ill" / "truth" / "flu" / "Q1" / "scan.png")
    mark(there / "ill" / "truth" / "flu" / "Q1" / "scan.tif")
    images, quarantine = manifest(describe(abnormal={"flu": "../data/ill"}, masks="../data/ill/truth"))
    assert sorted(images["path"][images["label"] == 1]) == ["abnormal/flu/Q0/scan.jpg"]
    assert "expected one mask of a lesion, got" in quarantine["abnormal/flu/Q1/scan.jpg"]
    assert quarantine["abnormal/flu/Q2/scan.jpg"] == "an annotated image without any lesion mask"


def test_classes_have_names_and_several_folders(there: Path, describe: Describe) -> None:
    put(there / "other" / "0.jpg", 300)
    put(there / "more" / "0.jpg", 301)
    own = describe(normal=["../data/ok", "../data/more"], abnormal={"flu": "../data/ill", "cold": "../data/other"})
    images, _ = manifest(own)
    assert own.row.classes == ("normal", "flu", "cold")
    assert images["klass"].value_counts().to_dict() == {"normal": 13, "flu": 4, "cold": 1}
    assert {"normal/1/P0/0.jpg", "normal/2/0.jpg", "abnormal/cold/0.jpg"} <= set(images["path"])


def test_a_data_set_may_hold_normals_alone(there: Path, describe: Describe) -> None:
    own = describe(abnormal={})
    images, _ = manifest(own)
    assert own.row.classes == ("normal",)
    assert not own.row.judged
    assert set(images["label"]) == {0}
    assert {"train", "val"} <= set(images["split"])
    assert describe().row.judged


def test_a_moved_folder_changes_nothing_and_a_lost_one_is_named(there: Path, describe: Describe) -> None:
    own = describe()
    before = fingerprint(opened(own)), own.row.decides
    (there / "ill").rename(there / "moved")
    with pytest.raises(DatasetUnusable, match=r"clinic: abnormal: expected a folder of images at .*ill, got nothing"):
        opened(own)
    moved = describe(abnormal=str(there / "moved"))
    assert (fingerprint(opened(moved)), moved.row.decides) == before
    assert describe(split={"by": "patient", "patient": r"^(P)"}).row.decides != before[1]


def test_links_are_made_anew_and_what_they_point_to_is_left_alone(there: Path, describe: Describe) -> None:
    opened(describe())
    own = describe(abnormal={"flu": "../data/ill"})
    folder = own.link_folders()
    assert sorted(path.name for path in folder.iterdir()) == ["abnormal", "normal"]
    assert (folder / "abnormal" / "flu").resolve() == (there / "ill").resolve()
    assert not list(folder.parent.glob(".clinic*"))
    assert len(list(there.rglob("*.jpg"))) == 16


def test_a_class_without_images_is_named_with_what_was_expected(there: Path, describe: Describe) -> None:
    (there / "empty").mkdir()
    with pytest.raises(DatasetUnusable, match=r"no usable abnormal image in .*\n.*\nnormal: .*ok") as error:
        manifest(describe(abnormal="../data/empty"))
    assert "download:" not in str(error.value)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_can_be_named(form: str, describe: Describe) -> None:
    assert describe(form=form).description.form == form
