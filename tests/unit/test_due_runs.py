"""Which runs of the benchmark and the ablations are outdated, on a store with small made-up versions."""

import sys
from dataclasses import replace

import pytest

from assets.benchmark import Due, due, make
from assets.stage import ABLATIONS, BENCHMARK, LaneAssets
from pipeline.data.datasets import DATASETS
from pipeline.experiments.presets import PRESETS
from pipeline.store.provenance import Provenance
from pipeline.store.versions import Store, Version, fingerprint

READS = {"baselines": ("normals",), "baseline_evaluations": ("images", "tiles", "proxies", "baselines")}
READS[ABLATIONS] = ("images", "tiles", "proxies")


class Made:
    """A lane of the sample in a store; ``make`` publishes a version as the factory does."""

    def __init__(self, root) -> None:
        self.store = Store(root)
        self.lane = LaneAssets(dataset=DATASETS["oct"], lane=PRESETS["sample"].lanes["oct"], preset="sample", seed=0)
        for stage in ("images", "tiles", "proxies", "normals"):
            self.make(stage)

    def make(self, stage: str, name: str = "", content: str = "a", without: str = "") -> Version:
        asset = self.lane.stored(stage, name)
        work = self.store.work(asset, fingerprint(content))
        (work / "content").write_text(content)
        version = self.store.publish(asset, work, fingerprint(asset, content), {})
        read = [self.store.current(self.lane.stored(other, name)) for other in READS.get(stage, ())]
        record = Provenance(
            inputs={each.asset: each.data_version for each in read if each.asset != f"oct/{without}"},
            code_version=self.lane.code_version(stage, name),
            git_commit="",
            dagster_run="",
            mlflow_run="",
            preset="sample",
            seed=0,
        )
        self.store.record_provenance(version, record)
        self.store.point(version)
        return version

    def due(self, *stages: str) -> dict[str, tuple[str, ...]]:
        return {each.name: each.stages for each in due([self.lane], self.store, stages or BENCHMARK)}


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_a_run_is_due_from_its_first_outdated_stage_on(made):
    assert made.due() == dict.fromkeys(made.lane.lane.baselines, BENCHMARK)
    made.make("baselines", "vae")
    assert made.due()["vae"] == ("baseline_evaluations",)
    made.make("baseline_evaluations", "vae")
    assert "vae" not in made.due()
    made.make("images", content="b")
    assert made.due()["vae"] == ("baseline_evaluations",)
    made.make("tiles", content="b")
    assert made.due()["vae"] == ("baseline_evaluations",)
    made.make("normals", content="b")
    assert made.due()["vae"] == BENCHMARK


def test_a_changed_configuration_makes_its_own_run_due(made):
    for name in ("vae", "memae"):
        made.make("baselines", name)
        made.make("baseline_evaluations", name)
    rows = made.lane.lane.baselines
    made.lane = replace(made.lane, lane=replace(made.lane.lane, baselines=rows | {"vae": replace(rows["vae"], seed=7)}))
    assert made.due()["vae"] == BENCHMARK
    assert "memae" not in made.due()


def test_an_ablation_with_its_own_proxies_does_not_depend_on_the_lane_s(made):
    own, shared = list(made.lane.lane.ablations)[:2]
    made.make(ABLATIONS, own, without="proxies")
    made.make(ABLATIONS, shared)
    assert not {own, shared} & made.due(ABLATIONS).keys()
    made.make("proxies", content="b")
    assert made.due(ABLATIONS).keys() & {own, shared} == {shared}


def test_first_seeds_come_first_and_lanes_with_the_form_off_last(tmp_path):
    preset = PRESETS["quick"]
    dataset = DATASETS["oct"]
    plain = LaneAssets(
        dataset=replace(dataset, name="oct_plain"), lane=preset.form_off["oct"], preset="quick", seed=0, source="oct"
    )
    lane = LaneAssets(dataset=dataset, lane=preset.lanes["oct"], preset="quick", seed=0)
    lanes = {"oct": lane, "oct_plain": plain}
    found = due([plain, lane], Store(tmp_path), [ABLATIONS])
    order = [(each.dataset, lanes[each.dataset].runs(ABLATIONS)[each.name].seed) for each in found]
    assert order == sorted(order)
    assert {dataset for dataset, _ in order} == {"oct", "oct_plain"}


class Quick(Due):
    """A run that says that it began, and takes a moment."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", "import sys, time; print('began', flush=True); time.sleep(0.3)"]


def test_after_an_interrupt_no_other_run_begins(tmp_path):
    runs = make([Quick(dataset="oct", name=name, stages=()) for name in "abcd"], tmp_path, workers=1)
    assert next(runs).due.name == "a"
    runs.close()  # as an error in the loop over it does
    assert {path.name for path in tmp_path.iterdir()} <= {"oct-a.log", "oct-b.log"}
