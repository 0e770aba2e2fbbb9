"""Splits by patient or by duplicate group, never by file.

``train`` normals are learned from; ``val`` normals stop the training and give statistics and thresholds; ``holdout``
normals are second negatives; ``test`` is reported; ``unused`` stays out of every figure.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from pipeline.errors import ConfigError, DatasetUnusable

SPLITS = ("train", "val", "holdout", "test")
UNUSED = "unused"
LEAST = {"train": 1, "val": 2, "holdout": 1, "test": 1}
"""Groups of normals that a split needs: a normal's own group is left out of what it is compared with."""
BLOCK = 10
"""Consecutive numbers of the official order that count as one group where patient ids are lost (about 7 a patient)."""

TIES = {"volume": "volume", "subject": "patient", "patient": "patient"}
"""Column whose equal values keep images together → how the group is called: a later one names it first."""

Alike = Callable[[Sequence[int]], NDArray[np.int64]]
"""Label of the duplicate group of each of the given rows of the table."""


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """How images become a manifest."""

    split_seed: int = 0  # at least 0; moves brain MRI's groups and IDRiD's order
    protocol: Literal["leak_free", "paper_random"] = "leak_free"  # the paper's random split leaks near-duplicates
    shares: tuple[float, ...] = ()  # train, val, holdout, test of the normals, sum 1; empty: the data set's own

    def __post_init__(self) -> None:
        if self.split_seed < 0:
            raise ConfigError(f"split_seed: expected at least 0, got {self.split_seed}")
        if self.protocol not in ("leak_free", "paper_random"):
            raise ConfigError(f"protocol: expected 'leak_free' or 'paper_random', got {self.protocol!r}")
        wrong = len(self.shares) != len(SPLITS) or not (min(self.shares) >= 0 and abs(sum(self.shares) - 1) <= 1e-6)
        if self.shares and wrong:
            raise ConfigError(f"shares: expected four numbers (train, val, holdout, test) of sum 1, got {self.shares}")


SplitRule = Callable[[pd.DataFrame, ImagesConfig, Sequence[float], Alike], pd.DataFrame]
"""From usable images (path, image_id, label, official, patient, order; index 0…n-1) to ``group`` and ``split``."""


def by_patient_block(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """OCT: the official test split is the test; training normals are split into contiguous blocks of patients.

    Training normals of a test patient are unused. Where names have no patient, groups are runs of ``BLOCK`` numbers and
    each cut moves to the widest nearby gap in the numbering, where it is least likely to divide a patient.
    """
    group = "file-" + table["path"].map(lambda path: hashlib.sha256(path.encode()).hexdigest()[:12])
    known = table["patient"] != ""
    group = group.where(table["order"] < 0, table["order"].map(lambda n: f"order-{n // BLOCK * BLOCK}"))
    group = group.where(~known, "patient-" + table["patient"])
    test = table["official"] == "test"
    training = ~test & (table["label"] == 0) & ~group.isin(group[test])
    rank = np.where(known, pd.to_numeric(table["patient"], errors="coerce").fillna(-1), table["order"])
    normals = pd.DataFrame({"group": group, "rank": rank})[training]
    groups = normals.groupby("group").agg(size=("rank", "size"), low=("rank", "min"), high=("rank", "max"))
    groups = groups.reset_index().sort_values(["low", "group"]).set_index("group")
    gaps = None if known[training].any() else groups["low"].to_numpy()[1:] - groups["high"].to_numpy()[:-1]
    placed = pd.DataFrame({"group": group, "split": np.where(test, "test", UNUSED)})
    allocated = _allocated(groups["size"], _named_shares(shares, SPLITS[:3]), gaps=gaps, least=LEAST)
    placed.loc[training, "split"] = group.map(allocated)
    return placed


def by_hash_order(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """IDRiD: annotated images (and official testing normals) are the test; normals follow the order of their hashes."""
    normal = table["label"] == 0
    placed = pd.DataFrame({"group": "image-" + table["image_id"], "split": "test"}, index=table.index)
    placed.loc[normal, "group"] = _duplicate_names(table, normal, alike)
    test = placed["group"].isin(placed["group"][normal & (table["official"] == "test")])
    training = normal & ~test
    placed.loc[normal & test & (table["official"] != "test"), "split"] = UNUSED  # copy of an official testing image
    sizes = placed[training].groupby("group").size()
    order = sorted(sizes.index, key=lambda name: hashlib.sha256(f"{config.split_seed} {name}".encode()).digest())
    allocated = _allocated(sizes.loc[order], _named_shares(shares, SPLITS[:3]), least=LEAST)
    placed.loc[training, "split"] = placed["group"].map(allocated)
    return placed


def by_duplicate_group(
    table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike
) -> pd.DataFrame:
    """Brain MRI: groups of near-duplicate normals are split at random; in the test one image represents its group.

    Tumours are all test. With ``paper_random`` single normals are split, so a group can be in several: it leaks.
    """
    normal = table["label"] == 0
    placed = pd.DataFrame({"group": _duplicate_groups(table, alike), "split": "test"}, index=table.index)
    leaking = config.protocol == "paper_random"
    unit = table["image_id"] if leaking else placed["group"]
    # Each group counts as one, whatever its size: the shares are of groups.
    sizes = pd.Series(1, index=sorted(set(unit[normal])))
    order = np.random.default_rng(config.split_seed).permutation(len(sizes))
    allocated = _allocated(sizes.iloc[order], _named_shares(shares, SPLITS), least=LEAST)
    placed.loc[normal, "split"] = unit[normal].map(allocated)
    if not leaking:
        test = placed[normal & (placed["split"] == "test")].assign(path=table["path"]).sort_values("path")
        placed.loc[test.index[test["group"].duplicated()], "split"] = UNUSED
    return placed


def by_patient(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """User data: patients are split at random; abnormal images, and normals of their patients, are the test."""
    placed = pd.DataFrame({"group": _patient_groups(table, alike), "split": "test"}, index=table.index)
    normal = table["label"] == 0
    training = normal & ~placed["group"].isin(placed["group"][~normal])
    placed.loc[training, "split"] = _split_at_random(placed["group"][training], _named_shares(shares, SPLITS), config)
    return placed


def by_duplicates(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """User data: `by_duplicate_group`; if files tell patients or volumes, `by_patient`, joined with the duplicates."""
    if not (table[["subject", "volume"]] != "").any(axis=None):
        return by_duplicate_group(table, config, shares, alike)
    try:
        return by_patient(table, config, shares, alike)
    except DatasetUnusable as error:
        raise DatasetUnusable(f"{error}, or split by volume, which takes no look-alikes together") from error


def by_folder(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """User data: ``official`` is a normal's split; a missing ``val`` or ``holdout`` is split off ``train``."""
    given = table["official"].where(table["label"] == 0, "test")
    placed = pd.DataFrame({"group": _patient_groups(table, alike), "split": given}, index=table.index)
    # Of a group in several splits only the images of the last one are used, so nothing is learned from tested groups.
    rank = given.map({split: number for number, split in enumerate(SPLITS)})
    placed.loc[rank < rank.groupby(placed["group"]).transform("max"), "split"] = UNUSED
    if missing := [split for split in ("val", "holdout") if not (given == split).any()]:
        training = placed["split"] == "train"
        wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if split in ("train", *missing)}
        placed.loc[training, "split"] = _split_at_random(placed["group"][training], wanted, config)
    return placed


def check_enough(rows: pd.DataFrame, dataset: str) -> None:
    """Raise ``DatasetUnusable`` where normals (split, label, group) are too few for what comes after the training."""
    normals = rows[rows["label"] == 0]
    images, groups = normals["split"].value_counts(), normals.groupby("split")["group"].nunique()
    for split, counted, what in (("train", images, "images"), ("val", groups, "patients or groups")):
        if (got := int(counted.get(split, 0))) < 2:
            wanted = f"expected normals of at least 2 {what} in the split {split}, which scores are compared with"
            raise DatasetUnusable(f"{dataset}: {wanted}, got {got}; add normals, or change the shares")


def _named_shares(shares: Sequence[float], splits: Sequence[str]) -> dict[str, float]:
    return dict(zip(splits, shares, strict=False))


def _split_at_random(groups: pd.Series, shares: Mapping[str, float], config: ImagesConfig) -> pd.Series:
    """Split of each row: whole groups in random order, near the shares of the images."""
    sizes = groups.value_counts().sort_index()
    order = np.random.default_rng(config.split_seed).permutation(len(sizes))
    return groups.map(_allocated(sizes.iloc[order], shares, least=LEAST))


def _allocated(
    sizes: pd.Series,
    shares: Mapping[str, float],
    gaps: NDArray[np.float64] | None = None,
    least: Mapping[str, int] = {},
) -> dict[str, str]:
    """Split of each group: contiguous in the given order, near the shares, with the ``least`` groups (1) in each.

    ``gaps`` (one less than groups) lets a cut move by 2 % of the images to the widest gap.
    """
    given = tuple(shares.values())
    if min(given) <= 0:
        raise ConfigError(f"shares: expected a share above 0 for each of {', '.join(shares)}, got {given}")
    need = [least.get(split, 1) for split in shares]
    if len(sizes) < sum(need):
        wanted = f"normals of at least {sum(need)} patients or groups, for {len(need)} splits"
        raise DatasetUnusable(f"expected {wanted}, got {len(sizes)}; add normals")
    ends = sizes.to_numpy().cumsum()
    middles = ends - sizes.to_numpy() / 2
    cuts = [0]
    for place, share in enumerate(np.cumsum([float(share) / sum(given) for share in given])[:-1], start=1):
        cut = int(np.searchsorted(middles, share * ends[-1]))
        if gaps is not None:
            near = np.flatnonzero(np.abs(ends[:-1] - share * ends[-1]) <= 0.02 * ends[-1])
            cut = int(near[np.argmax(gaps[near])]) + 1 if len(near) else cut
        # Leave enough groups on both sides of the cut, even where the shares would not.
        cuts.append(min(max(cut, cuts[-1] + need[place - 1]), len(sizes) - sum(need[place:])))
    places = np.searchsorted(cuts, np.arange(len(sizes)), side="right") - 1
    return {group: list(shares)[place] for group, place in zip(sizes.index, places, strict=True)}


def _duplicate_names(table: pd.DataFrame, chosen: pd.Series, alike: Alike) -> pd.Series:
    """Name of the duplicate group of each chosen row: after its first image by content hash."""
    rows = table.index[chosen]
    labels = pd.Series(alike([int(row) for row in rows]), index=rows)
    first: pd.Series = table.loc[rows, "image_id"].groupby(labels).transform("min")
    return "same-" + first


def _duplicate_groups(table: pd.DataFrame, alike: Alike) -> pd.Series:
    """Name of the duplicate group of each row; normals and abnormal images may look alike and stay apart."""
    normal = table["label"] == 0
    names: pd.Series = pd.concat([_duplicate_names(table, chosen, alike) for chosen in (normal, ~normal)])
    return names.reindex(table.index)


def _patient_groups(table: pd.DataFrame, alike: Alike) -> pd.Series:
    """Name of the group of each row: images of one patient or volume, or duplicates, directly or through others."""
    n, ties = len(table), [_duplicate_groups(table, alike)]
    names = "same-" + table["image_id"]
    for column, kind in TIES.items():
        if column in table:
            known = table[column] != ""
            names = names.where(~known, f"{kind}-" + table[column])
            ties.append(table[column].where(known, table["image_id"]))  # without one, an image stands for itself
    # A graph of n images and n of each kind of tie, with an edge from each image to its ties.
    rows = np.tile(np.arange(n), len(ties))
    ends = np.concatenate([place * n + pd.factorize(tie)[0] for place, tie in enumerate(ties, start=1)])
    graph = sparse.coo_array((np.ones(len(rows), bool), (rows, ends)), shape=((len(ties) + 1) * n,) * 2)
    labels = connected_components(graph, directed=False)[1][:n]
    return names.groupby(labels).transform("min")
