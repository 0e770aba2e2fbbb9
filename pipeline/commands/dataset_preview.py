"""What ``proxyano dataset`` prints about folders of images before anything is built from them."""

import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.data.manifest import passed_over
from pipeline.data.raw import RawFolder
from pipeline.data.read.masks import EMPTY, SOFT
from pipeline.data.slices import read_mask, read_slices
from pipeline.data.splits import SPLITS, UNUSED
from pipeline.data.user_datasets.dataset import Own, find_masks
from pipeline.errors import DatasetUnusable
from pipeline.store.files import write_file

FEW = 5  # unusable files that are listed
PICTURES = 3  # images drawn with the outline of their mask
STRIP, SHOWN = 8, 160  # slices of a volume that are drawn, px of each
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
        if not masked:
            names = "a mask is named like its image, with --mask-suffix behind the name"
            console.print(f"[yellow]No mask fits an image: {names}.[/]")
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


def print_masks(console: Console, images: pd.DataFrame, raw: RawFolder, folder: Path) -> None:
    """Print by which rule how many masks mark pixels, and draw the first over their images in ``folder``."""
    rules, drawn = Counter[str](), list[tuple[str, Path]]()
    for row in images[images["masks"] != "{}"].itertuples():
        for path in json.loads(str(row.masks)).values():
            marked, rule = read_mask(raw, path).marked((int(str(row.height)), int(str(row.width))))
            rules[rule] += 1
            if len(drawn) < PICTURES and (marked.any() or "#" not in path):
                drawn.append((path, folder / f"{len(drawn) + 1}.png"))
                ((frame, _),) = read_slices(raw, [str(row.path)])
                write_file(drawn[-1][1], _outlined(frame.usable, marked))
    for rule, count in rules.most_common():
        colour = "yellow" if rule in (SOFT, EMPTY) else "default"
        console.print(f"[{colour}]{count} masks: {rule}[/]")
    for path, picture in drawn:
        console.print(f"look at the outline of {path}: {picture}", soft_wrap=True, highlight=False, markup=False)


def print_volumes(
    console: Console, images: pd.DataFrame, counts: Mapping[str, Any], raw: RawFolder, folder: Path
) -> None:
    """Print how many volumes there are and which differ from the rest, and draw slices of some in ``folder``."""
    held = ", ".join(f"{n} {klass}" for klass, n in counts["volumes"].items())
    console.print(f"volumes: {held}, with {counts['slices']} slices; {counts['empty slices']} empty ones are left out")
    for volume, how in list(counts["odd"].items())[:FEW]:
        console.print(
            f"[yellow]unlike most volumes: {escape(volume)}: {escape(how)}[/]", soft_wrap=True, highlight=False
        )
    if len(counts["odd"]) > FEW:
        console.print(f"[yellow]… and {len(counts['odd']) - FEW} more, all in counts.json[/]")
    inside = images[images["volume"] != ""].sort_values(["label", "volume", "path"])
    first = inside.drop_duplicates("volume")
    for number, volume in enumerate([*first["volume"][:1], *first["volume"][-1:]], start=1):
        paths = inside["path"][inside["volume"] == volume].tolist()
        chosen = [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, STRIP).astype(int))]
        strip = [_square(frame.usable) for frame, _ in read_slices(raw, chosen)]
        Image.fromarray(np.hstack(strip)).save(buffer := io.BytesIO(), "PNG")
        write_file(folder / f"{number}.png", buffer.getvalue())
        console.print(
            f"look at slices of {volume}: {folder / f'{number}.png'}", soft_wrap=True, highlight=False, markup=False
        )


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("RGB").resize((SHOWN, SHOWN)))


def _outlined(pixels: NDArray[np.uint8], marked: NDArray[np.bool_]) -> bytes:
    """PNG of an image with a red line around its marked pixels."""
    from skimage.segmentation import find_boundaries  # takes half a second

    shown = np.array(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1))
    shown[find_boundaries(marked)] = (255, 0, 0)
    Image.fromarray(shown).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


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
