"""What goes into the manifest, what into the quarantine, and who learns from what."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.data import checks
from pipeline.data.datasets import DATASETS
from pipeline.data.manifest import build_manifest, make_manifest, read_manifest
from pipeline.data.raw import RawFolder
from pipeline.data.sample.files import cut, jpeg, tiff
from pipeline.data.splits import ImagesConfig
from pipeline.errors import ConfigError, DatasetUnusable
from pipeline.store.versions import Store
from tests.unit.problem_folders import LABELS, MASKS, PART_A, PART_B, SHAPE, picture


def put(root: Path, name: str, data: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def alone(images: Sequence[np.ndarray], **_: object) -> np.ndarray:
    """Stand-in for the near-duplicate search: nothing looks like anything."""
    return np.arange(len(images))


def by_mean(images: Sequence[np.ndarray], **_: object) -> np.ndarray:
    """Stand-in: images of equal brightness are the same."""
    return np.unique([int(image.mean()) // 10 for image in images], return_inverse=True)[1]


@pytest.fixture(autouse=True)
def _no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.data.manifest.duplicate_groups", alone)


@pytest.fixture
def idrid(tmp_path: Path) -> Path:
    root = tmp_path / "idrid"
    spot = np.zeros(SHAPE, bool)
    spot[3:7, 4:9] = True
    for i in range(8):
        put(root, f"{PART_B}/IDRiD_{100 + i}.jpg", picture(i))
    put(
        root,
        LABELS,
        ("Image name,Retinopathy grade,,\n" + "".join(f"IDRiD_{100 + i},0,,\n" for i in range(30))).encode(),
    )
    for i in (1, 2):
        put(root, f"{PART_A}/IDRiD_0{i}.jpg", picture(50 + i))
        put(root, f"{MASKS}/1. Microaneurysms/IDRiD_0{i}_MA.tif", tiff(spot, rgba=i == 2))
    return root


def make(root: Path, dataset: str = "idrid", config: ImagesConfig | None = None) -> tuple:
    return make_manifest(RawFolder(root), DATASETS[dataset], config or ImagesConfig())


def test_a_clean_folder_is_all_used(idrid: Path) -> None:
    images, quarantine, counts = make(idrid)
    assert len(images) == 10
    assert quarantine.empty
    assert counts["splits"]["test"] == {"diabetic_retinopathy": 2}
    assert counts["parts"]["B/train"]["normal"] == {"there": 8, "usable": 8, "official": 134}
    assert images.equals(images.sort_values(["split", "path"], ignore_index=True))
    assert json.loads(images.loc[images["label"] == 1, "masks"].iloc[0]).keys() == {"MA"}
    assert checks.normals_only(images)[0]
    assert checks.content_once(images)[0]
    assert checks.groups_apart(images)[0]
    assert checks.counts_within_official(counts)[0]
    assert checks.mask_sizes(images, RawFolder(idrid)) == (True, {"masks": 2, "wrong": 0, "examples": []})


def test_a_truncated_jpeg_goes_to_the_quarantine_and_the_rest_goes_on(idrid: Path) -> None:
    put(idrid, f"{PART_B}/IDRiD_110.jpg", cut(picture(10)))
    images, quarantine, counts = make(idrid)
    assert len(images) == 10
    assert quarantine["path"].tolist() == [f"{PART_B}/IDRiD_110.jpg"]
    assert "truncated" in quarantine["reason"][0]
    assert checks.counts_within_official(counts)[1]["lost"] == 0


@pytest.mark.parametrize(
    ("mask", "reason"),
    [(b"", "0 bytes"), (tiff(np.eye(50, dtype=bool)), "expected a mask of 64×48 px like its image, got 50×50")],
)
def test_a_bad_mask_takes_its_image_along(idrid: Path, mask: bytes, reason: str) -> None:
    name = f"{MASKS}/2. Haemorrhages/IDRiD_01_HE.tif"
    put(idrid, name, mask)
    images, quarantine, _ = make(idrid)
    assert f"{PART_A}/IDRiD_01.jpg" not in set(images["path"])
    reasons = dict(zip(quarantine["path"], quarantine["reason"], strict=True))
    assert reason in reasons[name]
    assert "missing lesion" in reasons[f"{PART_A}/IDRiD_01.jpg"]


def test_an_annotated_image_without_masks_is_no_normal(idrid: Path) -> None:
    put(idrid, f"{PART_A}/IDRiD_03.jpg", picture(53))
    _, quarantine, _ = make(idrid)
    assert quarantine["reason"].tolist() == ["an annotated image without any lesion mask"]


def test_the_same_content_counts_once(idrid: Path) -> None:
    put(idrid, f"{PART_B}/IDRiD_111.jpg", picture(3))
    images, quarantine, _ = make(idrid)
    assert len(images) == 10
    assert quarantine["reason"].tolist() == [f"same content as {PART_B}/IDRiD_103.jpg"]


def test_normal_and_abnormal_of_one_content_are_both_out(idrid: Path) -> None:
    put(idrid, f"{PART_B}/IDRiD_112.jpg", picture(51))
    images, quarantine, _ = make(idrid)
    assert len(images) == 9
    assert set(quarantine["path"]) == {f"{PART_B}/IDRiD_112.jpg", f"{PART_A}/IDRiD_01.jpg"}
    assert quarantine["reason"].str.contains("conflicting labels").all()


def test_a_known_conflict_is_out_with_its_reason(idrid: Path) -> None:
    put(idrid, f"{PART_B}/IDRiD_118.jpg", picture(18))
    _, quarantine, _ = make(idrid)
    assert "grade 3" in quarantine["reason"][0]


def test_an_image_named_like_another_is_another_image(tmp_path: Path) -> None:
    put(tmp_path, "sartaj/Testing/glioma_tumor/image(1).jpg", picture(99))
    for i in range(6):
        put(tmp_path, f"sartaj/Training/no_tumor/image({i}).jpg", picture(i))
        put(tmp_path, f"sartaj/Testing/no_tumor/image({i}).jpg", picture(20 + i))
    images, quarantine, _ = make(tmp_path, "brain_mri")
    assert len(images) == 13
    assert quarantine.empty


def test_brain_groups_stay_together_and_the_random_protocol_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.manifest.duplicate_groups", by_mean)
    monkeypatch.setattr("pipeline.data.reading.look_of", lambda pixels, middle, rule: pixels)
    rng = np.random.default_rng(0)
    put(tmp_path, "Testing/glioma_tumor/a.jpg", picture(99))
    for group in range(10):
        for copy in range(4):
            pixels = np.clip(25 + 20 * group + rng.normal(0, 3, SHAPE), 0, 255).astype(np.uint8)
            put(tmp_path, f"Training/no_tumor/{group}-{copy}.jpg", jpeg(pixels))
    images, _, counts = make(tmp_path, "brain_mri")
    assert checks.groups_apart(images)[0]
    assert not counts["leaking"]
    test = images[(images["split"] == "test") & (images["label"] == 0)]
    assert test["group"].is_unique
    assert set(images["group"][images["split"] == "unused"]) <= set(test["group"])
    images, _, counts = make(tmp_path, "brain_mri", ImagesConfig(protocol="paper_random"))
    assert counts["leaking"]
    assert not checks.groups_apart(images)[0]


def test_oct_patients_of_the_test_teach_nothing(tmp_path: Path) -> None:
    for i in range(12):
        for j in (1, 2):
            put(tmp_path, f"OCT2017/train/NORMAL/NORMAL-{10 + i}-{j}.jpeg", picture(10 * i + j))
    put(tmp_path, "OCT2017/test/NORMAL/NORMAL-13-7.jpeg", picture(500))
    put(tmp_path, "OCT2017/test/CNV/CNV-17-7.jpeg", picture(501))
    images, _, counts = make(tmp_path, "oct")
    assert set(images["group"][images["split"] == "unused"]) == {"patient-13", "patient-17"}
    assert checks.groups_apart(images)[0]
    assert set(counts["splits"]) == {"train", "val", "holdout", "test", "unused"}


def test_an_empty_folder_says_what_was_expected_where(tmp_path: Path) -> None:
    for name, row in DATASETS.items():
        with pytest.raises(DatasetUnusable) as caught:
            make(tmp_path, name)
        assert str(tmp_path) in str(caught.value)
        assert row.layout.splitlines()[0] in str(caught.value)


def test_nothing_usable_says_why(idrid: Path) -> None:
    for path in (idrid / PART_B).glob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DatasetUnusable, match=r"no usable normal image(?s:.)*0 bytes(?s:.)*expected there"):
        make(idrid)


def test_publishing_is_repeatable_and_follows_the_content(idrid: Path, tmp_path: Path) -> None:
    store, row = Store(tmp_path / "stores"), DATASETS["idrid"]
    first = build_manifest(RawFolder(idrid), row, ImagesConfig(), store)
    again = build_manifest(RawFolder(idrid), row, ImagesConfig(), store)
    assert first == again
    images, quarantine, counts = read_manifest(first)
    assert len(images) == 10
    assert images["label"].dtype == "int8"
    assert quarantine.empty
    assert first.meta["counts"] == counts
    store.verify(first)
    other = build_manifest(RawFolder(idrid), row, ImagesConfig(split_seed=1), store)
    assert other.data_version != first.data_version


@pytest.mark.parametrize("wrong", [{"split_seed": -1}, {"protocol": "x"}, {"shares": (0.5, 0.5)}])
def test_a_bad_config_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ImagesConfig(**wrong)


def test_checks_find_what_they_look_for() -> None:
    images = pd.DataFrame(
        {"sha256": ["a", "a"], "path": ["x", "y"], "split": ["train", "val"], "group": ["g", "g"], "label": [0, 1]}
    )
    assert not checks.content_once(images)[0]
    assert not checks.groups_apart(images)[0]
    assert not checks.normals_only(images)[0]


def test_near_duplicates_across_splits_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    blocks = [np.kron(rng.integers(0, 256, (8, 8)), np.ones((16, 16))).astype(np.uint8) for _ in range(3)]
    for name, image in (("a", blocks[0]), ("b", blocks[1]), ("c", blocks[2]), ("d", blocks[0][:, ::-1])):
        put(tmp_path, f"{name}.jpg", jpeg(np.ascontiguousarray(image)))
    images = pd.DataFrame({"path": [f"{n}.jpg" for n in "abcd"], "label": 0, "split": ["train", "val", "test", "test"]})
    passed, found = checks.near_duplicates_apart(images, RawFolder(tmp_path), DATASETS["brain_mri"])
    assert not passed
    assert found["examples"] == ["a.jpg (train) and d.jpg (test)"]
    assert checks.near_duplicates_apart(images.iloc[:3], RawFolder(tmp_path), DATASETS["brain_mri"])[0]


@pytest.mark.slow
def test_real_oct(real_raw: Path) -> None:
    images, quarantine, counts = make(real_raw / "oct", "oct")
    assert quarantine.empty
    assert counts["splits"]["test"] == {"CNV": 250, "DME": 250, "DRUSEN": 250, "normal": 250}
    normals = [counts["splits"][split]["normal"] for split in ("train", "val", "holdout")]
    assert sum(normals) == 957
    assert normals == pytest.approx([657, 150, 150], abs=25)
    assert checks.groups_apart(images)[0]


@pytest.mark.slow
def test_real_brain_mri(real_raw: Path) -> None:
    images, quarantine, counts = make_manifest(RawFolder(real_raw / "brain_mri"), DATASETS["brain_mri"], ImagesConfig())
    assert len(images) == 1138
    assert len(quarantine) == 262
    assert checks.groups_apart(images)[0]
    assert not counts["leaking"]
