"""Who learns from which image: splits by patient, by duplicate group, never by file.

``train`` normals teach; ``val`` normals stop early and give statistics and thresholds; ``holdout`` normals of the
training source take part in nothing and are the second negatives; ``test`` holds what is reported; ``unused`` is
kept in the table and left out of every figure.
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
"""Groups that a split needs: a validation normal's own group is left out of the statistics it is scored by."""
BLOCK = 10
"""Consecutive numbers of the official order that count as one group where patient ids are lost (about 7 a patient)."""

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
        wrong = len(self.shares) != len(SPLITS) or min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6
        if self.shares and wrong:
            raise ConfigError(f"shares: expected four numbers (train, val, holdout, test) of sum 1, got {self.shares}")


SplitRule = Callable[[pd.DataFrame, ImagesConfig, Sequence[float], Alike], pd.DataFrame]
"""From usable images (path, image_id, label, official, patient, order; index 0…n-1) to ``group`` and ``split``."""


def by_patient_block(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """OCT: the official test split is the test; training normals go in contiguous blocks of patients.

    Where names carry patient ids, groups are patients, and training normals of a patient who stands in the test are
    unused. Where they carry only a number, groups are runs of ``BLOCK`` numbers and a cut falls where, near its
    place, most numbers were left out in between.
    """
    placed = pd.DataFrame({"group": table["path"].map(_of_path), "split": UNUSED}, index=table.index)
    known = table["patient"] != ""
    placed.loc[known, "group"] = "patient-" + table["patient"][known]
    ordered = ~known & (table["order"] >= 0)
    placed.loc[ordered, "group"] = table["order"][ordered].map(lambda n: f"order-{n // BLOCK * BLOCK}")
    test = table["official"] == "test"
    placed.loc[test, "split"] = "test"
    training = ~test & (table["label"] == 0) & ~placed["group"].isin(placed["group"][test])
    rank = np.where(known, pd.to_numeric(table["patient"], errors="coerce").fillna(-1), table["order"])
    normals = placed[training].assign(rank=rank[training], path=table["path"])
    groups = normals.groupby("group").agg(size=("rank", "size"), low=("rank", "min"), high=("rank", "max"))
    groups = groups.reset_index().sort_values(["low", "group"]).set_index("group")
    gaps = groups["low"].to_numpy()[1:] - groups["high"].to_numpy()[:-1]
    names = _fill(groups["size"].to_numpy(), _normalised(shares, SPLITS[:3]), None if known[training].any() else gaps)
    split = pd.Series([SPLITS[i] for i in names], index=groups.index)
    placed.loc[training, "split"] = normals["group"].map(split)
    return placed


def by_hash_order(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """IDRiD: annotated images (and official testing normals) are the test; normals follow the order of their hashes."""
    normal = table["label"] == 0
    placed = pd.DataFrame({"group": "image-" + table["image_id"], "split": "test"}, index=table.index)
    placed.loc[normal, "group"] = _named(table, table.index[normal], alike)
    test = placed["group"].isin(placed["group"][normal & (table["official"] == "test")])
    training = normal & ~test
    placed.loc[test & (table["official"] != "test"), "split"] = UNUSED  # twin of an official testing image
    placed.loc[~normal, "split"] = "test"
    sizes = placed[training].groupby("group").size()
    sizes = sizes.loc[
        sorted(sizes.index, key=lambda name: hashlib.sha256(f"{config.split_seed} {name}".encode()).digest())
    ]
    names = _fill(sizes.to_numpy(), _normalised(shares, SPLITS[:3]))
    placed.loc[training, "split"] = placed["group"].map(dict(zip(sizes.index, (SPLITS[i] for i in names), strict=True)))
    return placed


def by_duplicate_group(
    table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike
) -> pd.DataFrame:
    """Brain MRI: groups of near-duplicate normals are dealt out at random; in the test one image stands for a group.

    Tumours are all test, grouped for the bootstrap. With ``paper_random`` single normals are dealt out, so that
    groups stand on several sides: that split leaks.
    """
    normal = table["label"] == 0
    placed = pd.DataFrame({"group": "", "split": "test"}, index=table.index)
    for kind in (normal, ~normal):
        placed.loc[kind, "group"] = _named(table, table.index[kind], alike)
    leaking = config.protocol == "paper_random"
    unit = table["image_id"] if leaking else placed["group"]
    names = sorted(set(unit[normal]))
    order = np.random.default_rng(config.split_seed).permutation(len(names))
    dealt = _fill(np.ones(len(names), np.int64), _normalised(shares, SPLITS), least=list(LEAST.values()))
    split = {names[place]: SPLITS[i] for place, i in zip(order, dealt, strict=True)}
    placed.loc[normal, "split"] = unit[normal].map(split)
    if not leaking:
        test = placed[normal & (placed["split"] == "test")].assign(path=table["path"]).sort_values("path")
        placed.loc[test.index[test["group"].duplicated()], "split"] = UNUSED
    return placed


def by_patient(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """Own data with patients in its names: patients are dealt out at random, each with all images of theirs.

    Abnormal images are the test, and so are the normals of a patient who has one.
    """
    placed = pd.DataFrame({"group": _together(table, alike), "split": "test"}, index=table.index)
    normal = table["label"] == 0
    training = normal & ~placed["group"].isin(placed["group"][~normal])
    placed.loc[training, "split"] = _dealt(placed["group"][training], dict(zip(SPLITS, shares, strict=True)), config)
    return placed


def by_folder(table: pd.DataFrame, config: ImagesConfig, shares: Sequence[float], alike: Alike) -> pd.DataFrame:
    """Own data whose user says the split of each normal (``official``); abnormal images are the test.

    Where no image has ``val`` or ``holdout``, these are dealt out of ``train`` by group. Of a group that stands in
    several splits only the images of the last of them are used, so that nothing is learned from what is tested.
    """
    normal = table["label"] == 0
    said = table["official"].where(normal, "test")
    placed = pd.DataFrame({"group": _together(table, alike), "split": said}, index=table.index)
    rank = said.map({split: number for number, split in enumerate(SPLITS)})
    placed.loc[rank < rank.groupby(placed["group"]).transform("max"), "split"] = UNUSED
    open_ = [split for split in ("val", "holdout") if not (said == split).any()]
    if open_:
        rest = placed["split"] == "train"
        wanted = {split: share for split, share in zip(SPLITS, shares, strict=True) if split in ("train", *open_)}
        placed.loc[rest, "split"] = _dealt(placed["group"][rest], wanted, config)
    return placed


def _dealt(groups: pd.Series, shares: Mapping[str, float], config: ImagesConfig) -> pd.Series:
    """Split of each row: whole groups in random order, near the shares of the images."""
    sizes = groups.value_counts().sort_index()
    order = np.random.default_rng(config.split_seed).permutation(len(sizes))
    names = list(shares)
    least = [LEAST[name] for name in names]
    filled = _fill(sizes.to_numpy()[order], _normalised(list(shares.values()), names), least=least)
    return groups.map({sizes.index[place]: names[i] for place, i in zip(order, filled, strict=True)})


def _together(table: pd.DataFrame, alike: Alike) -> pd.Series:
    """Name of the group of each row: images of one patient, or that look alike, directly or over others.

    Normals and abnormal images are looked at apart, as everywhere: an abnormal image may look like a normal one.
    """
    normal = table["label"] == 0
    same = pd.concat([_named(table, table.index[kind], alike) for kind in (normal, ~normal)]).reindex(table.index)
    n, known = len(table), np.flatnonzero(table["patient"] != "")
    rows = np.concatenate([np.arange(n), known])  # each row is tied to what stands for its look-alikes, and its patient
    ties = np.concatenate([n + pd.factorize(same)[0], 2 * n + pd.factorize(table["patient"])[0][known]])
    graph = sparse.coo_array((np.ones(len(rows), bool), (rows, ties)), shape=(3 * n, 3 * n))
    labels = connected_components(graph, directed=False)[1][:n]
    names = np.where(table["patient"] != "", "patient-" + table["patient"], "same-" + table["image_id"])
    return pd.Series(names, index=table.index).groupby(labels).transform("min")


def _fill(
    sizes: NDArray[np.integer],
    shares: Sequence[float],
    gaps: NDArray[np.float64] | None = None,
    least: Sequence[int] = (),
) -> list[int]:
    """Place in ``shares`` of each group in order: contiguous, near the shares, at least one group each.

    ``gaps`` (one less than groups) lets a cut move by 2 % of the images to the widest gap; ``least`` asks for more
    groups than one of a place.
    """
    n, parts = len(sizes), len(shares)
    least = least or [1] * parts
    if n < sum(least):
        raise DatasetUnusable(
            f"expected normals of at least {sum(least)} patients or groups, for {parts} splits, got {n}; add normals"
        )
    middles = np.cumsum(sizes) - sizes / 2
    ends = np.cumsum(sizes)
    cuts = [0]
    for place, share in enumerate(np.cumsum(shares)[:-1], start=1):
        cut = int(np.searchsorted(middles, share * ends[-1]))
        if gaps is not None:
            near = np.flatnonzero(np.abs(ends[:-1] - share * ends[-1]) <= 0.02 * ends[-1])
            cut = int(near[np.argmax(gaps[near])]) + 1 if len(near) else cut
        cuts.append(min(max(cut, cuts[-1] + least[place - 1]), n - sum(least[place:])))
    return [int(np.searchsorted(cuts, i, side="right")) - 1 for i in range(n)]


def _named(table: pd.DataFrame, rows: "pd.Index[int]", alike: Alike) -> pd.Series:
    """Name of the duplicate group of each row: after its first image by content hash."""
    labels = pd.Series(alike([int(row) for row in rows]), index=rows)
    return "same-" + table.loc[rows, "image_id"].groupby(labels).transform("min")


def _normalised(shares: Sequence[float], names: Sequence[str]) -> list[float]:
    kept = [float(share) for share, _ in zip(shares, names, strict=False)]
    if min(kept) <= 0:
        raise ConfigError(f"shares: expected a share above 0 for each of {', '.join(names)}, got {tuple(shares)}")
    return [share / sum(kept) for share in kept]


def _of_path(path: str) -> str:
    return "file-" + hashlib.sha256(path.encode()).hexdigest()[:12]
