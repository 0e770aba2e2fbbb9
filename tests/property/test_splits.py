"""Whatever patients and duplicates a data set holds, none stands on two sides."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.data.splits import (
    LEAST,
    SPLITS,
    ImagesConfig,
    _allocated,
    by_duplicate_group,
    by_duplicates,
    by_folder,
    by_hash_order,
    by_patient,
    by_patient_block,
)
from pipeline.errors import DatasetUnusable

SHARES = (0.5, 0.2, 0.15, 0.15)


def table(groups: Sequence[int], abnormal: int, official_test: int, named: bool = True) -> pd.DataFrame:
    """Normals of the given patients, the first of which are official test images, and abnormal test images."""
    n = len(groups) + abnormal
    patients = [*groups, *range(1000, 1000 + abnormal)]
    return pd.DataFrame(
        {
            "path": [f"{i:04d}.jpg" for i in range(n)],
            "image_id": [f"{i * 2654435761 % 2**32:016x}" for i in range(n)],
            "label": [0] * len(groups) + [1] * abnormal,
            "official": ["test" if i < official_test or i >= len(groups) else "train" for i in range(n)],
            "patient": [str(p) if named else "" for p in patients],
            "order": [-1 if named else 3 * i for i in range(n)],
        }
    )


RULES = {
    "block": by_patient_block,
    "hash": by_hash_order,
    "group": by_duplicate_group,
    "patient": by_patient,
    "folder": by_folder,
}
patients = st.lists(st.integers(0, 30), min_size=8, max_size=60)


def apart(rows: pd.DataFrame, placed: pd.DataFrame) -> None:
    used = placed[placed["split"].isin(SPLITS)]
    assert placed["split"].isin([*SPLITS, "unused"]).all()
    assert (used.groupby("group")["split"].nunique() == 1).all()
    assert (placed["group"] != "").all()
    assert placed["split"][rows["label"] == 1].isin(["test", "unused"]).all()
    assert {"train", "val", "holdout"} <= set(used["split"])


@pytest.mark.slow
@settings(max_examples=60)
@given(patients, st.integers(0, 4), st.integers(0, 99), st.sampled_from(sorted(RULES)), st.booleans())
def test_no_group_stands_on_two_sides(groups: list[int], tested: int, seed: int, rule: str, named: bool) -> None:
    rows = table(groups, abnormal=3, official_test=tested, named=named)
    split = RULES[rule]

    def alike(places: Sequence[int]) -> np.ndarray:
        return np.array([([*groups, 91, 92, 93])[place] for place in places])

    try:
        placed = split(rows, ImagesConfig(split_seed=seed), SHARES, alike)
    except DatasetUnusable:
        assert len(set(groups)) < 9 or not named
        return
    apart(rows, placed)
    again = split(rows, ImagesConfig(split_seed=seed), SHARES, alike)
    assert placed.equals(again)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 80)), min_size=12, max_size=60), st.integers(0, 99))
def test_no_patient_and_no_volume_of_a_header_stands_on_two_sides(told: list[tuple[int, int]], seed: int) -> None:
    rows = table([0] * len(told), abnormal=3, official_test=0, named=False)
    ids = [*told, (1, 0), (0, 1), (98, 99)]  # of a patient with normals, of a volume with them, and of another
    rows = rows.assign(subject=[f"{a}" if a else "" for a, _ in ids], volume=[f"v{b}" if b else "" for _, b in ids])
    try:
        placed = by_duplicates(rows, ImagesConfig(split_seed=seed), SHARES, lambda places: np.arange(len(places)))
    except DatasetUnusable:  # too many are joined
        assume(False)
    apart(rows, placed)
    for column in ("subject", "volume"):
        assert (placed["split"].groupby(rows[column].where(rows[column] != "")).nunique() == 1).all()


def allocate(sizes: list[int], **options) -> list[int]:
    shares = dict(zip(SPLITS, SHARES, strict=True))
    return [SPLITS.index(split) for split in _allocated(pd.Series(sizes), shares, **options).values()]


@settings(max_examples=100)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=80))
def test_allocation_is_contiguous_whole_and_near_the_shares(sizes: list[int]) -> None:
    places = allocate(sizes)
    assert places == sorted(places)
    assert set(places) == set(range(4))
    if len(sizes) > 40:
        for split, share in enumerate(SHARES):
            got = sum(size for size, place in zip(sizes, places, strict=True) if place == split)
            assert abs(got - share * sum(sizes)) <= 9


@given(st.lists(st.integers(1, 9), min_size=5, max_size=30))
def test_allocation_gives_a_split_the_groups_it_needs(sizes: list[int]) -> None:
    places = allocate(sizes, least=LEAST)
    assert places == sorted(places)
    assert all(places.count(place) >= least for place, least in enumerate((1, 2, 1, 1)))


def test_too_few_groups_is_an_error_that_says_so() -> None:
    with pytest.raises(DatasetUnusable, match="at least 4 patients or groups"):
        allocate([5, 5, 5])
