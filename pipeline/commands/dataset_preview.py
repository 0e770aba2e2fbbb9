"""What ``proxyano dataset`` prints about folders of images before anything is built from them."""

from collections import Counter

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.data.manifest import passed_over
from pipeline.data.raw import RawFolder
from pipeline.data.splits import SPLITS, UNUSED
from pipeline.data.user_datasets.dataset import Own, find_masks
from pipeline.errors import DatasetUnusable

FEW = 5  # unusable files that are listed
GROUPS = 8  # groups that are listed unless all are asked for


def print_counts(console: Console, own: Own, raw: RawFolder) -> None:
    """Print what the folders hold, by names alone; ``DatasetUnusable`` where a class has no usable image."""
    candidates, row = own.row.scan(raw), own.row
    counts = Counter(item.klass for item in candidates)
    for klass in row.classes:
        items = [item for item in candidates if item.klass == klass]
        if all(item.refused for item in items):
            folders = ", ".join(str(root.folder) for root in own.roots if root.klass == klass)
            got = f"{len(items)} unusable ones, {items[0].path}: {items[0].refused}" if items else "none"
            got += "".join(f"; {path}: {reason}" for path, reason in list(raw.broken.items())[:FEW])
            raise DatasetUnusable(f"{own.name}: expected images of the class {klass} in {folders}, got {got}")
    console.print(f"{own.name}: " + ", ".join(f"{counts[klass]} {klass}" for klass in row.classes))
    if patients := {item.patient for item in candidates if item.patient}:
        console.print(f"{len(patients)} patients")
    if row.lesions:
        masks = find_masks(raw, own.roots, own.description.mask_suffix).values()
        given = {path for by_name in masks for paths in by_name.values() for path in paths}
        unmatched = len(given - {path for item in candidates for path in item.masks.values()})
        abnormal, masked = len(candidates) - counts["normal"], sum(bool(item.masks) for item in candidates)
        fit = f"{unmatched} of {len(given)} masks fit no image"
        console.print(f"{masked} of {abnormal} abnormal images have a mask; {fit}")
    refused = [(item.path, item.refused) for item in candidates if item.refused]
    print_unusable(console, [*raw.broken.items(), *raw.odd.items(), *refused])
    if passed := ", ".join(f"{count} {kind}" for kind, count in passed_over(raw, candidates).items()):
        console.print(f"passed over: {passed}", soft_wrap=True, markup=False, highlight=False)


def print_unusable(console: Console, files: list[tuple[str, str]]) -> None:
    """Print the first unusable files (path, reason) and the number of the others."""
    for path, reason in files[:FEW]:
        console.print(f"[yellow]not usable: {escape(path)}: {escape(reason)}[/]", soft_wrap=True, highlight=False)
    if len(files) > FEW:
        console.print(f"[yellow]… and {len(files) - FEW} more that are not usable[/]")


def split_table(images: pd.DataFrame) -> Table:
    """Images of each class, and groups, by split."""
    classes = sorted(images["klass"].unique(), key=lambda klass: (klass != "normal", klass))
    table = Table("split", *classes, "groups")
    for split in (*SPLITS, UNUSED):
        rows = images[images["split"] == split]
        if len(rows) or split != UNUSED:
            counts = [str(int((rows["klass"] == klass).sum())) for klass in classes]
            table.add_row(split, *counts, str(rows["group"].nunique()))
    return table


def print_groups(console: Console, images: pd.DataFrame, *, every: bool) -> None:
    """Print the groups, largest first, each with its split and its first image."""
    groups = images.groupby(["group", "split"]).agg(n=("path", "size"), first=("path", "min")).reset_index()
    groups = groups.sort_values(["n", "group"], ascending=[False, True])
    listed = groups if every else groups[groups["n"] > 1].head(GROUPS)
    if listed.empty:
        console.print("No two images belong together.")
        return
    table = Table("group", "split", "images", "first of them")
    for row in listed.itertuples():
        table.add_row(str(row.group), str(row.split), str(row.n), str(row.first))
    console.print(table)
    if len(listed) < len(groups):
        console.print(f"{len(groups)} groups in all; --groups lists every one.")


def warnings_of(images: pd.DataFrame, unusable: int) -> list[str]:
    """What will stop the lane, or makes its results unreliable."""
    normals, warnings = images[images["label"] == 0], list[str]()
    groups = normals.groupby("split")["group"].nunique()
    if groups.get("val", 0) < 2:
        warnings.append(f"val: expected normals of two groups or more (scores need them), got {groups.get('val', 0)}")
    largest = normals["group"].value_counts().iloc[0]
    if largest > len(normals) / 3:
        remedy = "look for duplicates in the middle alone (split: middle: 0.5), or split by patient"
        share = f"{largest} of {len(normals)} normals are one group"
        warnings.append(f"{share}: if they are not the same thing, {remedy}")
    if unusable > len(images):
        warnings.append(f"more files cannot be used ({unusable}) than can ({len(images)})")
    return warnings
