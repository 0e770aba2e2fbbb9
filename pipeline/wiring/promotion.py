"""Whether a new detector is better than the one in use, judged on the same test images."""

import json
from dataclasses import dataclass

import numpy as np

from models.metrics import Difference, of_resamples, paired_difference
from pipeline.evaluation.pictures.gallery import RESAMPLES
from pipeline.evaluation.records import find
from pipeline.evaluation.saved import LaneEvaluation, load_evaluation
from pipeline.evaluation.score_name import COMMITTEE, PRIMARY, ScoreName
from pipeline.store.versions import Version


@dataclass(frozen=True)
class Comparison:
    """Whether the new evaluation is better, and why or why not."""

    better: bool
    why: str


def compare(champion: Version, new: Version) -> Comparison:
    """Compare two evaluations of one data set by pixel AUROC, or by image AUROC where there are no masks.

    What ships is compared: the committee, or the method where it stands alone.

    The new one is better if the whole 95 % interval of the paired difference lies above 0; without the same test
    images there is no pair.
    """
    if champion.data_version == new.data_version:
        return Comparison(False, "it has the champion's own evaluation")
    versions = (champion, new)
    lanes = [load_evaluation(version.path) for version in versions]
    columns = [_shipped(lane).column for lane in lanes]
    values = [_pixel_auroc(lane) for lane in lanes]
    if values[1] is None:
        tables = [lane.scores[lane.scores["split"] == "test"].set_index("image_id").sort_index() for lane in lanes]
        if list(tables[0].index) != list(tables[1].index):
            return Comparison(False, "the two were not tested on the same images")
        first, second = (table[column].to_numpy(float) for table, column in zip(tables, columns, strict=True))
        labels, groups = tables[1]["label"].to_numpy(int), tables[1]["group"].to_numpy()
        return _judged("image", paired_difference(labels, first, second, groups, rng=np.random.default_rng(0)))
    tiles = [{k: v for k, v in lane.about("versions").items() if k.endswith("/tiles")} for lane in lanes]
    if values[0] is None or tiles[0] != tiles[1]:
        return Comparison(False, "the two were not tested on the same tiles")
    drawn = [json.loads((version.path / RESAMPLES).read_text()) for version in versions]  # NaN is stored as null
    first, second = (np.array(rows[column], float) for rows, column in zip(drawn, columns, strict=True))
    return _judged("pixel", of_resamples(values[1] - values[0], first, second))


def _pixel_auroc(lane: LaneEvaluation) -> float | None:
    wanted = {"level": "pixel", "metric": "auroc", "subset": "all", "method": _shipped(lane).method}
    found = find(lane.records, score=PRIMARY, **wanted)
    return float(found[0]["value"]) if found else None


def _shipped(lane: LaneEvaluation) -> ScoreName:
    committee = ScoreName.of(COMMITTEE)
    return committee if committee.column in lane.scores else ScoreName.of(str(lane.about("method")))


def _judged(level: str, found: Difference) -> Comparison:
    better = bool(found.low > 0)
    interval = f"{level} AUROC {found.value:+.4f}, 95 % interval [{found.low:+.4f}, {found.high:+.4f}]"
    return Comparison(better, f"{interval}: {'above' if better else 'not wholly above'} 0")
