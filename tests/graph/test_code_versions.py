"""Code versions: a changed value, row or form makes exactly the stages stale that depend on it."""

import os
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets.stage import LaneAssets
from pipeline.data.datasets import DATASETS
from pipeline.definitions import build
from pipeline.experiments.lane import STEPS, Lane
from pipeline.experiments.lanes import oct
from pipeline.experiments.presets import PRESETS, full
from pipeline.forms import FORMS
from pipeline.reports.kit import publish


def changed(lane: Lane, other: Lane) -> set[str]:
    """Stages whose code version differs between two configurations."""
    return {stage for stage in STEPS if lane.code_version(stage) != other.code_version(stage)}


@pytest.mark.parametrize("name", sorted(DATASETS))
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_changed_value_makes_exactly_its_stage_stale(preset, name):
    lane = PRESETS[preset].lanes[name]
    canvas, training = next(iter(lane.training.canvases.items()))

    def trained(**values):
        canvases = {**lane.training.canvases, canvas: replace(training, **values)}
        return replace(lane, training=replace(lane.training, canvases=canvases))

    def budget(stage):
        longer = replace(training.stages[stage], steps=training.stages[stage].steps + 1)
        return trained(stages={**training.stages, stage: longer})

    assert changed(lane, replace(lane)) == set()
    assert changed(lane, budget("stage1")) == {"stage1"}
    assert changed(lane, budget("stage2")) == {"stage2"}
    assert changed(lane, trained(size=(16, 16))) == {"stage1", "stage2"}
    assert changed(lane, replace(lane, images=replace(lane.images, split_seed=1))) == {"images"}
    assert changed(lane, replace(lane, tiles=replace(lane.tiles, shard=64))) == {"tiles"}
    assert changed(lane, replace(lane, proxies=replace(lane.proxies, segments=799))) == {"proxies"}
    assert changed(lane, replace(lane, evaluation=replace(lane.evaluation, resamples=999))) == {"evaluation"}


def code_versions(lane: Lane) -> dict[str, str]:
    """Of every stage, run of the benchmark and ablation."""
    runs = {f"baselines/{name}": lane.baseline_version("baselines", name) for name in lane.baselines}
    rows = {f"ablations/{name}": lane.baseline_version("ablations", name) for name in lane.ablations}
    return {stage: lane.code_version(stage) for stage in STEPS} | runs | rows


def test_a_learning_rate_in_one_lane_s_file_makes_that_lane_s_training_stale_and_nothing_else():
    source = Path(str(oct.__file__)).read_text()
    edited = types.ModuleType("edited")
    exec(source.replace("learning_rate=2e-3", "learning_rate=1e-3", 1), edited.__dict__)  # the first one is STAGE's
    for before, after in ((oct.QUICK, edited.QUICK), (full(oct.QUICK), full(edited.QUICK))):
        one, other = code_versions(before), code_versions(after)
        assert {name for name in one if one[name] != other[name]} == {"stage1", "stage2"}
    assert code_versions(edited.SAMPLE) == code_versions(oct.SAMPLE)
    readers = {file.name for file in Path(str(oct.__file__)).parent.glob("*.py") if "lanes.oct" in file.read_text()}
    assert readers == set(), "a lane reads nothing of another lane"


def test_a_changed_run_of_the_benchmark_leaves_the_others_alone():
    lane = PRESETS["quick"].lanes["oct"]
    own = lane.baselines["vae"]
    canvases = {
        name: replace(plan, stages={stage: replace(row, steps=9) for stage, row in plan.stages.items()})
        for name, plan in own.training.canvases.items()
    }
    shorter = replace(own, training=replace(own.training, canvases=canvases))
    after = replace(lane, baselines={**lane.baselines, "vae": shorter})

    def versions(of: Lane) -> set[tuple[str, str]]:
        return {(name, of.baseline_version("baselines", name)) for name in of.baselines}

    assert {name for name, _ in versions(lane) ^ versions(after)} == {"vae"}
    assert changed(lane, after) == set()
    scored = replace(lane, evaluation=replace(lane.evaluation, resamples=999))
    assert versions(scored) == versions(lane)
    stage = "baseline_evaluations"
    assert all(scored.baseline_version(stage, name) != lane.baseline_version(stage, name) for name in lane.baselines)


def test_the_graph_carries_the_lane_s_code_versions(settings, monkeypatch):
    monkeypatch.setenv("PROXYANO_PRESET", "sample")
    graph = build(settings()).resolve_asset_graph()
    for name, lane in PRESETS["sample"].lanes.items():
        for stage in STEPS:
            if stage == "ablations" and name == "idrid":  # the paper has none on fundus images
                continue
            found = graph.get(dg.AssetKey([name, stage])).code_version
            assert found == LaneAssets(dataset=DATASETS[name], lane=lane, preset="sample", seed=0).code_version(stage)
            assert found.startswith(lane.code_version(stage))


def test_a_changed_data_set_row_makes_its_images_stale_and_a_changed_form_its_tiles(monkeypatch):
    lane = LaneAssets(dataset=DATASETS["oct"], lane=PRESETS["sample"].lanes["oct"], preset="sample", seed=0)
    before = {stage: lane.code_version(stage) for stage in STEPS}

    def stale(after: LaneAssets) -> set[str]:
        return {stage for stage in STEPS if after.code_version(stage) != before[stage]}

    assert stale(replace(lane, dataset=replace(lane.dataset, shares=(0.7, 0.1, 0.1, 0.1)))) == {"images"}
    form = FORMS["bruch_membrane"]
    monkeypatch.setattr(form, "version", form.version + 1)
    assert stale(lane) == {"tiles", "detector"}


def test_an_edit_of_a_module_a_template_or_the_glossary_makes_the_reports_stale(tmp_path, monkeypatch, settings):
    def versions() -> list[str]:
        graph = build(settings()).resolve_asset_graph()
        names = ("evaluation_report", "benchmark_report", "ablation_report")
        return [str(graph.get(dg.AssetKey(name)).code_version) for name in names]

    monkeypatch.setenv("PROXYANO_PRESET", "sample")
    found = [versions()]
    assert [one.partition("-")[0] for one in found[0]] == ["6", "5", "7"]
    copied = tmp_path / "reports"
    shutil.copytree(publish.REPORTS, copied)
    monkeypatch.setattr(publish, "REPORTS", copied)
    assert versions() == found[0]
    for name in ("ablations/experiments.py", "templates/page.css", "glossary.md"):
        with (copied / name).open("a") as file:
            file.write("\n")
        found.append(versions())
    assert all(len(set(made)) == len(found) for made in zip(*found, strict=True))


def test_code_versions_are_the_same_in_every_process():
    code = (
        "from pipeline.experiments.presets import PRESETS as p; print(p['quick'].lanes['oct'].code_version('stage2'))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert run.stdout.strip() == PRESETS["quick"].lanes["oct"].code_version("stage2")
