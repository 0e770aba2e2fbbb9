"""Label audit: normals that the members agree to call abnormal, for a person to look at; nothing is dropped here.

Public data hold wrong labels. An image that several unlike members score above their label-free thresholds is listed,
with its picture; whoever looks at it can put it on the list of reviewed images, and the records then say beside each
result what it would be without those (subset ``records.REVIEWED``). The result itself keeps every image.
"""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = ("image_id", "path", "split", "group", "agreeing", "members", "mean_score")
HERE = Path(__file__).parent / "reviewed"
SIDE, PER_ROW, CAPTION = 160, 6, 34  # px of a picture, pictures a row, px of the lines below it


@cache
def reviewed(dataset: str) -> tuple[str, ...]:
    """Images of a data set that a person found to look abnormal although they are labelled normal, by image id."""
    file = HERE / f"{dataset}.csv"
    if not file.exists():
        return ()
    with file.open(encoding="utf-8", newline="") as lines:
        return tuple(row["image_id"] for row in csv.DictReader(lines))


def audit_table(
    scores: pd.DataFrame, columns: Sequence[str], thresholds: Mapping[str, float], paths: Mapping[str, str]
) -> pd.DataFrame:
    """Normals outside training by how many of the members' score ``columns`` lie above their thresholds, most first.

    Rows have ``COLUMNS`` and the members' scores; an image that no member calls abnormal is left out.
    """
    normal = scores[(scores["label"] == 0) & scores["split"].isin(["val", "holdout", "test"])]
    above = pd.DataFrame({name: normal[name] > thresholds[name] for name in columns})
    found = normal[["image_id", "split", "group"]].assign(
        path=normal["image_id"].map(paths),
        agreeing=above.sum(axis=1),
        members=len(columns),
        mean_score=normal[list(columns)].mean(axis=1),
        **{name: normal[name] for name in columns},
    )
    listed = found[found["agreeing"] > 0].sort_values(["agreeing", "mean_score"], ascending=False)
    return listed[[*COLUMNS, *columns]].reset_index(drop=True)


def audit_sheet(table: pd.DataFrame, pictures: Mapping[str, NDArray[np.uint8]], count: int = 24) -> bytes:
    """PNG of the first images of the table, each with its path, members that agree, and mean score."""
    cells = []
    for _, row in table.head(count).iterrows():
        cell = np.full((SIDE + CAPTION, SIDE, 3), 255, np.uint8)
        picture = cv2.resize(pictures[row["image_id"]], (SIDE - 4, SIDE - 4), interpolation=cv2.INTER_AREA)
        cell[2 : SIDE - 2, 2 : SIDE - 2] = picture[..., None]
        lines = (f"{row['agreeing']}/{row['members']} agree, {row['mean_score']:.1f}, {row['split']}", row["image_id"])
        for at, line in enumerate(lines):
            place = (3, SIDE + 12 + 15 * at)
            cv2.putText(cell, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
        cells.append(cell)
    blank = np.full((SIDE + CAPTION, SIDE, 3), 255, np.uint8)
    cells += [blank] * (-len(cells) % PER_ROW or (0 if cells else PER_ROW))
    rows = [np.hstack(cells[at : at + PER_ROW]) for at in range(0, len(cells), PER_ROW)]
    done, content = cv2.imencode(".png", np.vstack(rows))
    if not done:
        raise RuntimeError("OpenCV could not encode the audit's contact sheet")
    return content.tobytes()
