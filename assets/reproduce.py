"""What a page of results rests on, part by part: which runs are outdated, and in which order they are made.

Every run is a process: a refresh in a home, or one partition of the benchmark or the ablations (``assets.benchmark``).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from assets.benchmark import Due, due
from assets.stage import ABLATIONS as ABLATION_STAGE
from assets.stage import BENCHMARK as BENCHMARK_STAGES
from assets.stage import LaneAssets, up_to_date
from assets.stages import PREPARED, STAGES
from pipeline.data.datasets import DATASETS
from pipeline.reports.run_results import ABLATIONS, BENCHMARK, LANES, PARTS, ROBUSTNESS
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings

INPUTS = ("images", *PREPARED)  # of single runs
DETECTOR = (*INPUTS, "stage1", "stage2", "members", "detector")
REFRESHED = {LANES: (*DETECTOR, "evaluation"), ROBUSTNESS: (*DETECTOR, "robustness")}
PARTITIONS: Mapping[str, tuple[str, ...]] = {BENCHMARK: BENCHMARK_STAGES, ABLATIONS: (ABLATION_STAGE,)}
"""Part → stages that a refresh makes in the home of a seed, or stages with a partition for each run."""
_STAGES = {stage.name: stage for stage in STAGES}


@dataclass(frozen=True)
class Refreshed(Due):
    """The stages of one lane in the home of a seed."""

    @property
    def command(self) -> list[str]:
        """Makes what is outdated up to the last stage."""
        return [sys.executable, "-m", "pipeline.cli", "refresh", "--select", f"*{self.dataset}/{self.stages[-1]}"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of the plan."""

    part: str
    due: Due
    lane: LaneAssets
    store: Store  # of its home
    outdated: tuple[str, ...]  # stages to make
    order: tuple[int, int, int]  # seed, part, inputs first: steps of one order can be made side by side


def plan(
    settings: Settings,
    lanes_of: Callable[[Settings], Sequence[LaneAssets]],
    home_of: Callable[[int], Path],
    parts: Sequence[str],
    seeds: Sequence[int],
) -> list[Step]:
    """What is to be made, the most important first: seed by seed, part by part, lanes with the form off last.

    Lanes that seem up to date are steps without outdated stages, because only a refresh looks at the raw folders.
    """
    found = list[Step]()
    for seed, part in product(seeds, (part for part in REFRESHED if part in parts)):
        own = _in_home(settings, home_of(seed), seed)
        for lane in lanes_of(own):
            if lane.dataset.name in DATASETS:
                found.append(_refreshed(part, REFRESHED[part], lane, own, (seed, PARTS.index(part), 1)))
    store, lanes = settings.store, [lane for lane in lanes_of(settings) if lane.raw_name in DATASETS]
    made = set(DATASETS) if LANES in parts and settings.seed in seeds else set[str]()  # whose inputs other steps make
    for part, stages in PARTITIONS.items():
        by_name = {lane.dataset.name: lane for lane in lanes if part in parts and lane.runs(stages[0])}
        for each in due(list(by_name.values()), store, stages):
            lane = by_name[each.dataset]
            seed = lane.runs(stages[0])[each.name].seed
            if seed not in seeds:
                continue
            order = (seed, PARTS.index(part), 1)
            inputs = _refreshed(part, INPUTS, lane, settings, (*order[:2], 0))
            if each.dataset not in made and inputs.outdated:
                found.append(inputs)
            made.add(each.dataset)
            found.append(Step(part=part, due=each, lane=lane, store=store, outdated=each.stages, order=order))
    return sorted(found, key=lambda step: (step.order, bool(step.lane.source)))


def _in_home(settings: Settings, home: Path, seed: int) -> Settings:
    """The same settings in the home of a seed."""
    remote = settings.of_run(home, seed, settings.split_seed).get("PROXYANO_STORE", settings.remote)
    return settings.model_copy(update={"home": home, "seed": seed, "remote": remote})


def _variables(own: Settings) -> dict[str, str]:
    """What a process needs to work with these settings."""
    found = own.of_run(own.home, own.seed, own.split_seed)
    return found | ({"PROXYANO_STORE": own.remote} if own.remote else {})


def _refreshed(part: str, stages: Sequence[str], lane: LaneAssets, own: Settings, order: tuple[int, int, int]) -> Step:
    store, outdated = own.store, list[str]()
    for name in stages:
        stage = _STAGES[name]
        if set(stage.reads) & set(outdated) or not up_to_date(lane, stage, store, ""):
            outdated.append(name)
    name = f"seed{lane.seed}" if stages != INPUTS else "inputs"
    each = Refreshed(lane.dataset.name, name, tuple(stages), _variables(own))
    return Step(part=part, due=each, lane=lane, store=store, outdated=tuple(outdated), order=order)
