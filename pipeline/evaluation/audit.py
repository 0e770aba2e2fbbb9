"""Label audit: normals that the members of a committee agree to call abnormal, listed for a person to look at.

Public data hold wrong labels. A reviewer can add a listed image to the list of reviewed images; the records then also
give each result without those (subset ``records.REVIEWED``). The result itself keeps every image.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.scoreboard import SCORED_SPLITS

COLUMNS = ("image_id", "path", "split", "group", "agreeing", "members", "mean_score")
HERE = Path(__file__).parent / "reviewed"
PICTURED = 24  # images
SIDE, PER_ROW, CAPTION = 160, 6, 34  # px of a picture, pictures a row, px of the lines below it


@cache
def reviewed(dataset: str) -> tuple[str, ...]:
    """Ids of a data set's images that are labelled normal but look abnormal to a person."""
    file = HERE / f"{dataset}.csv"
    return tuple(pd.read_csv(file, dtype=str)["image_id"]) if file.exists() else ()


def audit_table(
    scores: pd.DataFrame, columns: Sequence[str], thresholds: Mapping[str, float], paths: Mapping[str, str]
) -> pd.DataFrame:
    """``COLUMNS`` and scores of normals outside training with one above its threshold; most agreement comes first."""
    normal = scores[(scores["label"] == 0) & scores["split"].isin(SCORED_SPLITS)]
    above = pd.DataFrame({name: normal[name] > thresholds[name] for name in columns})
    counted = normal[["image_id", "split", "group"]].assign(
        path=normal["image_id"].map(paths),
        agreeing=above.sum(axis=1),
        members=len(columns),
        mean_score=normal[list(columns)].mean(axis=1),
        **{name: normal[name] for name in columns},
    )
    listed = counted[counted["agreeing"] > 0].sort_values(["agreeing", "mean_score"], ascending=False)
    return listed[[*COLUMNS, *columns]].reset_index(drop=True)


def audit_cell(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (h, w) of any size as a cell of the sheet shows it."""
    shown: NDArray[np.uint8] = cv2.resize(picture, (SIDE - 4, SIDE - 4), interpolation=cv2.INTER_AREA)
    return shown


def audit_sheet(table: pd.DataFrame, pictures: Mapping[str, NDArray[np.uint8]], count: int = PICTURED) -> bytes:
    """PNG of the first images of the table, each with the share of scores that agree, mean score, split and id."""
    cells = []
    for _, row in table.head(count).iterrows():
        cell = np.full((SIDE + CAPTION, SIDE, 3), 255, np.uint8)
        cell[2 : SIDE - 2, 2 : SIDE - 2] = audit_cell(pictures[row["image_id"]])[..., None]
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
