"""The built-in sample is small, the same for the same seed, and a download like a real one."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.data import checks
from pipeline.data.datasets import DATASETS
from pipeline.data.manifest import make_manifest
from pipeline.data.raw import RawFolder, fingerprint
from pipeline.data.sample import drawings as phantoms
from pipeline.data.sample.files import sample_files, write_sample
from pipeline.data.splits import ImagesConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "raw"
    write_sample(root)
    return root


def test_the_same_seed_gives_the_same_bytes(sample: Path) -> None:
    files = sample_files(0)
    for _ in range(20):
        name, data = next(files)
        assert (sample / name).read_bytes() == data


def test_a_sample_that_is_there_stays(sample: Path) -> None:
    before = fingerprint(RawFolder(sample))
    changed = (sample / "SAMPLE.json").stat().st_mtime_ns
    write_sample(sample)
    assert fingerprint(RawFolder(sample)) == before
    assert (sample / "SAMPLE.json").stat().st_mtime_ns == changed


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(FileExistsError, match="other files than a sample"):
        write_sample(tmp_path)
    assert (tmp_path / "holiday.jpg").exists()


@pytest.mark.parametrize(("name", "images"), [("brain_mri", 52), ("oct", 64), ("idrid", 18)])
def test_the_lane_reads_it_like_a_download(sample: Path, name: str, images: int) -> None:
    raw = RawFolder(sample / name)
    table, quarantine, counts = make_manifest(raw, DATASETS[name], ImagesConfig())
    assert len(table) == images
    assert len(quarantine) == 2
    assert quarantine["reason"].str.contains("truncated").sum() == 1
    assert quarantine["reason"].str.contains("same content").sum() == 1
    assert {"train", "val", "holdout", "test"} <= set(counts["splits"])
    assert checks.normals_only(table)[0]
    assert checks.groups_apart(table)[0]
    assert checks.near_duplicates_apart(table, raw, DATASETS[name])[0]


def test_normal_slices_are_not_one_group(sample: Path) -> None:
    """Drawings are simple, so the near-duplicate rule takes some of them for one slice; most stand alone."""
    table, _, _ = make_manifest(RawFolder(sample / "brain_mri"), DATASETS["brain_mri"], ImagesConfig())
    normals = table[table["label"] == 0]
    sizes = normals["group"].value_counts()
    assert 15 <= len(sizes) <= 34
    assert sizes.max() <= len(normals) / 2
    assert (sizes <= 2).sum() >= 10


def test_lesions_change_the_image_where_the_mask_says() -> None:
    rng = np.random.default_rng(0)
    normal = phantoms.fundus(rng)
    ill, masks = phantoms.plant_fundus_lesions(rng, normal, ("MA", "HE", "EX", "SE"))
    anywhere = np.any(list(masks.values()), axis=0)
    difference = np.abs(ill.astype(int) - normal).sum(axis=2)
    field = normal.sum(axis=2) > 60
    assert difference[anywhere & field].mean() > 20 * difference[~anywhere].mean()
    assert set(masks) == {"MA", "HE", "EX", "SE"}
    assert all(0 < mask.mean() < 0.05 for mask in masks.values())
