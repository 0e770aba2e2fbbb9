"""Scoring the images of an evaluation on workers of a cluster, which read all versions from the bucket.

What is fitted to normals is sent along; images go in batches, and what was measured on them comes back as a table like
those that ``carried`` saves, so that a killed evaluation goes on with it.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from pipeline.evaluation.carried import PARTS, Carried, Result, write_results
from pipeline.evaluation.scoreboard import LaneInputs, Scoreboard
from pipeline.evaluation.scoring import FITTED, CanvasScoring, ScoringPlan
from pipeline.store.shards import run_tasks
from pipeline.store.versions import Store, fingerprint
from pipeline.store.workers import NEEDS, spread

BATCH = 32  # images scored by one task; does not affect the result
FITTED_FILE = f"{PARTS}/fitted.parquet"
VERSIONS = ("images", "tiles", "proxies", "stage", "members", "detector")
"""Fields of ``LaneInputs`` that scoring reads."""
Keyed = Sequence[tuple[str, str]]  # image ids and the keys of their results

_ONE = threading.Lock()  # one batch at a time in a worker's process, as its detectors run side by side
_made: dict[str, CanvasScoring] = {}  # the one that was used last, by its recipe


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The cluster that scores the images of a build in the folder ``work`` of the shared ``store``."""

    store: Store
    work: Path
    scheduler_address: str

    def images(
        self, scoring: CanvasScoring, keys: Mapping[str, str], image_ids: Sequence[str]
    ) -> Iterator[tuple[str, Result]]:
        """Results of images with these keys, as ``CanvasScoring`` measures them here."""
        inputs = scoring.scoreboard.inputs
        there = partial(
            _score,
            **{name: getattr(inputs, name) for name in VERSIONS},
            dataset=inputs.dataset,
            plan=scoring.entries.scoring,
            canvas=scoring.canvas,
            recipe=scoring.recipe,
            needs=self.work / NEEDS,
            parts=self.work / PARTS,
        )
        some = list(image_ids)
        tasks = [[(each, keys[each]) for each in some[at : at + BATCH]] for at in range(0, len(some), BATCH)]
        run = partial(run_tasks, title=f"{inputs.dataset.name}: scoring", scheduler_address=self.scheduler_address)
        with TemporaryDirectory() as folder:
            fitted = Path(folder) / FITTED_FILE
            scoring.carried.write_some(fitted, f"{scoring.recipe}/{FITTED}/")
            spread(self.store, there, tasks, self.work, run, [{FITTED_FILE: fitted} for _ in tasks])
        for task in tasks:
            table = pd.read_parquet(self.work / PARTS / _part(task))
            found = {key: Result.unpacked(values, data) for key, values, data in table.itertuples(index=False)}
            yield from ((image_id, found[key]) for image_id, key in task)


def _part(task: Keyed) -> str:
    return f"workers-{fingerprint(task)}.parquet"


def _score(task: Keyed, *, canvas: str, recipe: str, plan: ScoringPlan, needs: Path, parts: Path, **given: Any) -> None:
    """Score images on a worker, and write their results."""
    with _ONE:
        if recipe not in _made:
            _made.clear()
            inputs = LaneInputs(**given)
            members, board = plan.members(inputs), Scoreboard.of(inputs, [canvas], None)
            _made[recipe] = plan.on_canvas(canvas, members, board, Carried(needs), recipe)
        found = dict(_made[recipe].images([image_id for image_id, _ in task]))
    write_results(parts / _part(task), {key: found[image_id].packed() for image_id, key in task})
