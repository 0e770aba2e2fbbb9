"""Copies are found whatever was done to them; different pictures stay apart."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.data.duplicates import DuplicateRule, Look, duplicate_groups, look_of, near_duplicates

Gray = NDArray[np.uint8]


def picture(seed: int, side: int = 160) -> Gray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 6)
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def looks(images: Sequence[Gray]) -> list[Look]:
    return [look_of(image, 1.0, DuplicateRule()) for image in images]


COPIES = {
    "mirrored": lambda a: a[:, ::-1],
    "upside down": lambda a: a[::-1],
    "both": lambda a: a[::-1, ::-1],
    "smaller": lambda a: cv2.resize(a, (90, 80), interpolation=cv2.INTER_AREA),
    "brighter": lambda a: np.clip(a * 1.2 + 10, 0, 255).astype(np.uint8),
    "sharpened": lambda a: np.clip(3.0 * a - 2.0 * ndimage.gaussian_filter(a + 0.0, 4), 0, 255).astype(np.uint8),
    "framed": lambda a: np.pad(a, 20),
}


@pytest.mark.parametrize("name", sorted(COPIES))
def test_a_copy_joins_its_original(name: str) -> None:
    images = [picture(0), picture(1), COPIES[name](picture(0)), picture(2)]
    assert duplicate_groups(looks(images)).tolist() == [0, 1, 0, 2]


def test_groups_chain_and_are_counted_from_the_first_image() -> None:
    images = [picture(5), picture(3), picture(3)[:, ::-1], picture(5)[::-1]]
    assert duplicate_groups(looks(images)).tolist() == [0, 1, 1, 0]


def test_no_image_and_blank_images_are_taken() -> None:
    assert duplicate_groups([]).size == 0
    blank = np.zeros((40, 50), np.uint8)
    assert duplicate_groups(looks([blank, picture(0), blank])).tolist() == [0, 1, 0]


def test_pairs_name_both_images() -> None:
    pairs = near_duplicates(looks([picture(0), picture(1), picture(2), picture(1)[:, ::-1]]))
    assert list(pairs) == [(1, 3)]


def test_block_size_does_not_change_the_pairs() -> None:
    images = looks([picture(i % 3) for i in range(7)])
    assert set(near_duplicates(images, rows=2)) == set(near_duplicates(images)) != set()


def test_real_copies_are_found(real_raw: Path) -> None:
    files = sorted((real_raw / "brain_mri/sartaj/Training/no_tumor").glob("*"))[:30]
    images = [np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), np.uint8) for file in files]
    labels = duplicate_groups(looks(images))
    assert 10 < labels.max() + 1 < len(files)
