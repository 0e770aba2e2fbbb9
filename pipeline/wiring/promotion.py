"""Is a newly trained detector better than the one in use? Decided on the same test images, by the interval."""

import json
from dataclasses import dataclass

import numpy as np

from models.comparison import Difference, of_resamples, paired_difference
from pipeline.evaluation.pictures.gallery import RESAMPLES
from pipeline.evaluation.records import PRIMARY, find
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.store.versions import Version


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The challenger's AUROC minus the champion's, and whether that is enough."""

    better: bool
    level: str = ""  # image or pixel
    difference: Difference | None = None
    why: str


def compare(champion: Version, challenger: Version) -> Comparison:
    """Two evaluations of one data set; better where the whole 95 % interval of the difference lies above 0.

    Without the same test images there is no pair, and no promotion.
    """
    old, new = load_evaluation(champion.path), load_evaluation(challenger.path)
    if champion.data_version == challenger.data_version:
        return Comparison(better=False, why="it has the champion's own evaluation")
    columns = [f"{lane.about('method')}:{PRIMARY}" for lane in (old, new)]
    pixel = find(new.records, level="pixel", metric="auroc", subset="all", method=str(new.about("method")))
    if pixel:
        return _pixels(champion, challenger, columns, (old, new))
    tables = [lane.scores[lane.scores["split"] == "test"].set_index("image_id").sort_index() for lane in (old, new)]
    if list(tables[0].index) != list(tables[1].index):
        return Comparison(better=False, level="image", why="the two were not tested on the same images")
    found = paired_difference(
        tables[1]["label"].to_numpy(int),
        tables[0][columns[0]].to_numpy(float),
        tables[1][columns[1]].to_numpy(float),
        tables[1]["group"].to_numpy(),
        rng=np.random.default_rng(0),
    )
    return _judged("image", found)


def _pixels(
    champion: Version, challenger: Version, columns: list[str], lanes: tuple[LaneEvaluation, LaneEvaluation]
) -> Comparison:
    """By resampled pixel AUROC, whose draws are paired where the tiles are the same."""
    tiles = [{k: v for k, v in lane.about("versions").items() if k.endswith("/tiles")} for lane in lanes]
    if tiles[0] != tiles[1]:
        return Comparison(better=False, level="pixel", why="the two were not tested on the same tiles")
    drawn = [json.loads((version.path / RESAMPLES).read_text()) for version in (champion, challenger)]
    first, second = (
        np.array([np.nan if v is None else v for v in rows[column]], float)
        for rows, column in zip(drawn, columns, strict=True)
    )
    values = [
        float(record["value"])
        for lane in lanes
        for record in find(
            lane.records,
            level="pixel",
            metric="auroc",
            subset="all",
            method=str(lane.about("method")),
            score=PRIMARY,
        )
    ]
    return _judged("pixel", of_resamples(values[1] - values[0], first, second))


def _judged(level: str, found: Difference) -> Comparison:
    interval = f"{level} AUROC {found.value:+.4f}, 95 % interval [{found.low:+.4f}, {found.high:+.4f}]"
    better = bool(found.low > 0)
    return Comparison(
        better=better,
        level=level,
        difference=found,
        why=f"{interval}: {'above' if better else 'not wholly above'} 0",
    )
