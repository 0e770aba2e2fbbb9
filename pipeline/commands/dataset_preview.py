"""What ``proxyano dataset`` tells of folders of images before anything is made of them."""

from collections import Counter

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.data.raw import RawFolder
from pipeline.data.splits import SPLITS, UNUSED
from pipeline.data.user_datasets.dataset import Own
from pipeline.data.user_datasets.scan import masks_of
from pipeline.errors import DatasetUnusable

FEW = 5  # names of one kind that are listed
SHOWN = 8  # groups that are listed unless all are asked for


def count(console: Console, own: Own, raw: RawFolder) -> None:
    """What is found in the folders by name alone; ``DatasetUnusable`` where a class has nothing."""
    candidates = own.row.scan(raw)
    counts = Counter(item.klass for item in candidates)
    for klass in own.row.classes:
        told = [item for item in candidates if item.klass == klass]
        if all(item.refused for item in told):
            folders = ", ".join(str(root.folder) for root in own.roots if root.klass == klass)
            got = f"{len(told)} that do not do, {told[0].path}: {told[0].refused}" if told else "none"
            raise DatasetUnusable(f"{own.name}: expected images of the class {klass} in {folders}, got {got}")
    console.print(f"{own.name}: " + ", ".join(f"{counts[klass]} {klass}" for klass in own.row.classes))
    if patients := {item.patient for item in candidates if item.patient}:
        console.print(f"{len(patients)} patients")
    if own.row.lesions:
        masks = masks_of(raw, own.roots, own.description.mask_suffix).values()
        given = {path for one in masks for paths in one.found.values() for path in paths}
        lonely = len(given - {path for item in candidates for path in item.masks.values()})
        sick, masked = len(candidates) - counts["normal"], sum(bool(item.masks) for item in candidates)
        console.print(f"{masked} of {sick} abnormal images have a mask; {lonely} of {len(given)} masks fit no image")
    why = [item for item in candidates if item.refused]
    for item in why[:FEW]:
        console.print(f"[yellow]{escape(item.path)}: {escape(item.refused)}[/]", soft_wrap=True, highlight=False)
    if len(why) > FEW:
        console.print(f"[yellow]… and {len(why) - FEW} more[/]")


def splits(images: pd.DataFrame) -> Table:
    """Images of each class and groups by split."""
    classes = sorted(images["klass"].unique(), key=lambda klass: (klass != "normal", klass))
    table = Table("split", *classes, "groups")
    for split in (*SPLITS, UNUSED):
        rows = images[images["split"] == split]
        if len(rows) or split != UNUSED:
            counts = [str(int((rows["klass"] == klass).sum())) for klass in classes]
            table.add_row(split, *counts, str(rows["group"].nunique()))
    return table


def groups_of(console: Console, images: pd.DataFrame, *, every: bool) -> None:
    """The groups, largest first, each with its split and an image of it."""
    found = images.groupby(["group", "split"]).agg(n=("path", "size"), first=("path", "min")).reset_index()
    found = found.sort_values(["n", "group"], ascending=[False, True])
    listed = found if every else found[found["n"] > 1].head(SHOWN)
    if listed.empty:
        console.print("No two images belong together.")
        return
    table = Table("group", "split", "images", "first of them")
    for row in listed.itertuples():
        table.add_row(str(row.group), str(row.split), str(row.n), str(row.first))
    console.print(table)
    if len(listed) < len(found):
        console.print(f"{len(found)} groups in all; --groups lists every one.")


def doubts(images: pd.DataFrame, refused: int) -> list[str]:
    """What will stop the lane, or makes its figures worth little."""
    normals = images[images["label"] == 0]
    said = []
    groups = normals.groupby("split")["group"].nunique()
    if groups.get("val", 0) < 2:
        said.append(f"val: expected normals of two groups or more (scores need them), got {groups.get('val', 0)}")
    largest = normals["group"].value_counts().iloc[0]
    if largest > len(normals) / 3:
        said.append(
            f"{largest} of {len(normals)} normals are one group: if they are not the same thing, look for duplicates "
            "in the middle alone (split: middle: 0.5), or split by patient"
        )
    if refused > len(images):
        said.append(f"more files cannot be used ({refused}) than can ({len(images)})")
    return said
