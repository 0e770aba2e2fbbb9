"""``proxyano reproduce``: the plan and its order, estimates, the runner on real processes, the page."""

import sys
import time
from dataclasses import dataclass, replace

import pytest

from assets.benchmark import Due
from assets.estimate import DRAWN, MEASURED, NOTED, SECONDS, Estimator, seconds_a_step
from assets.reproduce import Step, plan
from models.schedule import TrainConfig
from pipeline.commands.reproduce import _made
from pipeline.definitions import lanes_of
from pipeline.experiments.benchmark import QUICK_BUDGET
from pipeline.reports.progress_page import Shown, part_sums, write_progress
from pipeline.reports.run_results import PARTS
from pipeline.store.provenance import Provenance
from pipeline.store.versions import Store
from pipeline.wiring.settings import Settings
from tests.contract.tiny_methods import tiny


@pytest.fixture
def settings(monkeypatch, tmp_path):
    for name in ("PROXYANO_RAW", "PROXYANO_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROXYANO_HOME", str(tmp_path))
    monkeypatch.setenv("PROXYANO_PRESET", "quick")
    return Settings()


def planned(settings, parts=PARTS, seeds=(0, 1)):
    return plan(settings, lanes_of, lambda seed: settings.home / str(seed), parts, seeds)


def test_first_seeds_come_first_then_parts_and_lanes_with_the_form_off_last(settings):
    steps = planned(settings)
    assert [step.order for step in steps] == sorted(step.order for step in steps)
    assert [step.part for step in steps if step.order[0] == 0 and step.order[2]][:4] == ["lanes"] * 3 + ["benchmark"]
    benchmark = [step for step in steps if step.part == "benchmark" and step.order[:2] == (0, 1)]
    assert benchmark[0].due.name == "inputs", "what single runs read is made before them"
    assert benchmark[0].due.dataset == benchmark[-1].due.dataset == "oct_plain"
    assert {step.due.name for step in steps if step.order[0] == 1 and step.part == "ablations"} >= {"si-seed1"}
    assert not any(step.due.name.endswith("seed2") for step in steps)
    first, later = (step.due for step in steps if step.due.dataset == "oct" and step.part == "lanes")
    assert (first.environment["PROXYANO_SEED"], later.environment["PROXYANO_SEED"]) == ("0", "1")
    assert later.environment["PROXYANO_HOME"] == str(settings.home / "1")
    assert first.command[-1] == "*oct/evaluation"
    assert not {step.part for step in planned(settings, ["robustness"])} - {"robustness"}
    alone = planned(settings, ["ablations"], [0])
    assert {step.due.dataset for step in alone if step.due.name == "inputs"} == {"brain_mri", "oct", "oct_plain"}


def test_minutes_are_noted_ones_of_another_seed_or_measured(settings):
    step = next(step for step in planned(settings, ["benchmark"], [1]) if step.due.name == "vae-seed1")
    store, lane = Store(settings.stores), step.lane
    estimator = Estimator([store], 1)
    estimator.start = 0.0
    short = replace(step, outdated=("baseline_evaluations",))
    minutes, ground = estimator.minutes(short)
    assert (ground, minutes) == (MEASURED, pytest.approx(DRAWN * SECONDS["baseline_evaluations"] / 60))
    asset = lane.stored("baseline_evaluations", "vae")
    (store.work(asset, "a" * 16) / "content").write_text("a")
    version = store.publish(asset, store.work(asset, "a" * 16), "b" * 16, {})
    store.note(version, {"minutes": 7.0})
    code = lane.code_version("baseline_evaluations", "vae")
    about = {"git_commit": "", "dagster_run": "", "mlflow_run": "", "preset": "quick", "seed": 0}
    store.record_provenance(version, Provenance(inputs={}, code_version=code, **about))
    assert estimator.minutes(short) == (7.0, NOTED)
    (other,) = (one for one in planned(settings, ["benchmark"], [1]) if one.due.name == "auto_encoder-seed1")
    assert estimator.minutes(replace(other, outdated=("baseline_evaluations",)))[1] == MEASURED


def test_what_ablations_share_is_counted_once(settings):
    steps = {step.due.name: step for step in planned(settings, ["ablations"], [0]) if step.due.dataset == "oct"}
    estimator = Estimator([], 1)
    estimator.start, estimator._speed = 0.0, lambda *kind: 1.0
    first, second, rest = (estimator.minutes(steps[name])[0] for name in ("si", "si_rep", "si_mem_rep"))
    assert first == pytest.approx(rest), "another first stage: both halves of the budget"
    assert first - second == pytest.approx(2 * QUICK_BUDGET.steps / 2 / 60), "the first stage, on two canvases"
    assert estimator.minutes(steps["final"])[0] == pytest.approx(DRAWN * SECONDS["ablations"] / 60), (
        "si_mem_rep, read by another score"
    )


@pytest.mark.parametrize(("method", "stage"), [("proxyano", "stage2"), ("auto_encoder", "stage1")])
def test_a_step_is_measured_by_the_trainer_itself(method, stage):
    config = TrainConfig(steps=5000, batch_size=2, schedule="one_cycle")
    assert 0 < seconds_a_step(method, stage, tiny(method), (32, 32), config) < 5


@dataclass(frozen=True)
class Line(Due):
    """A run that is a line of Python."""

    @property
    def command(self):
        return [sys.executable, "-c", self.stages[0]]


def pair(name, line, order, home, minutes=0.0):
    step = Step(part="lanes", due=Line("oct", name, (line,)), lane=None, store=None, outdated=(), order=order)
    log = home / "reproduce" / "lanes" / f"oct-{name}.log"
    return step, Shown(part="lanes", title=name, estimated=minutes, ground=NOTED, log=log)


def test_groups_are_made_in_order_and_what_would_be_late_is_left_out(tmp_path):
    file = tmp_path / "order.txt"
    line = f"open({str(file)!r}, 'a').write('{{}} ')"
    steps = [pair(name, line.format(name), (seed, 0, 1), tmp_path) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    steps += [pair("late", line.format("late"), (1, 0, 1), tmp_path, minutes=60)]
    steps += [pair("bad", "raise SystemExit(3)", (2, 0, 1), tmp_path), pair("out", line, (2, 0, 1), tmp_path)]
    steps[-1][1].state = "left out"
    pages = []
    every = [shown for _, shown in steps]
    ended = [
        shown.title for shown in _made(steps, 2, time.monotonic() + 600, lambda: pages.append([s.state for s in every]))
    ]
    assert set(ended) == {"a", "b", "c", "bad"}
    assert {step.title: step.state for step in every} == {
        **dict.fromkeys("abc", "made"),
        "late": "left out",
        "bad": "failed",
        "out": "left out",
    }
    assert file.read_text().split()[2] == "c"
    assert pages[0] == ["waits"] * 5 + ["left out"]
    assert all(step.minutes > 0 for step in every if step.state == "made")


def test_the_page_counts_each_part_and_stops_loading_itself_at_the_end(tmp_path):
    steps = [pair(name, "", (0, 0, 1), tmp_path, minutes=2.0)[1] for name in "abc"]
    steps[0].state, steps[0].minutes = "made", 3.0
    steps[1].state = "left out"
    (only,) = part_sums(steps)
    assert (only.done, only.left, only.estimated, only.minutes, only.ratio) == (1, 1, 2.0, 3.0, 1.5)
    assert only.minutes_left == pytest.approx(3.0), "the estimate, corrected by the ratio so far"
    page = tmp_path / "reproduce.html"
    write_progress(page, steps, "Home <x>", going=True)
    assert 'http-equiv="refresh"' in page.read_text()
    assert 'href="reproduce/lanes/oct-a.log"' in page.read_text()
    assert "Home &lt;x&gt;" in page.read_text()
    write_progress(page, steps, "", going=False)
    assert 'http-equiv="refresh"' not in page.read_text()
