"""The rows of the ablations as data: each changes one thing, all have one budget, what is shared has one hash."""

from dataclasses import replace

import pytest
import torch

from models.methods import METHODS, build
from pipeline.experiments.ablations import BOTH_SCORES, DECIDING, ROWS, SEEDED, changes, differences
from pipeline.experiments.presets import PRESETS
from pipeline.reports.kit.paper import CLAIMS, PRINTED

ONE_THING = {
    ("method",),
    ("method", "steps"),  # the same budget, in one stage or in two
    ("score",),
    ("proxies.kind",),
    ("model.memory",),
    ("model.memory_items",),
    ("model.lambda_global", "model.lambda_local"),  # the repairing loss as a whole
    ("model.lambda_global",),
    ("model.lambda_local",),
}


@pytest.fixture(params=sorted(PRESETS))
def lanes(request):
    preset = PRESETS[request.param]
    return preset.lanes | {f"{name}_plain": lane for name, lane in preset.form_off.items()}


def test_every_data_set_has_the_rows_that_the_paper_has_there(lanes):
    assert firsts(lanes["oct"].ablations) == list(ROWS)
    assert firsts(lanes["brain_mri"].ablations) == list(BOTH_SCORES)
    assert not lanes["idrid"].ablations
    if "oct_plain" in lanes:
        assert firsts(lanes["oct_plain"].ablations) == list(DECIDING)
        assert lanes["oct_plain"].tiles.form == "plain"


def firsts(rows) -> list[str]:
    return [name for name in rows if "-seed" not in name]


@pytest.mark.parametrize("preset", ["quick", "full", "paper"])
def test_what_statements_rest_on_is_made_with_three_seeds_that_are_compared_among_themselves(preset):
    rows = PRESETS[preset].lanes["oct"].ablations
    for name in SEEDED:
        for seed in (1, 2):
            row = rows[f"{name}-seed{seed}"]
            assert row.seed == seed
            assert row.training == rows[name].training
            assert row.against == (f"{rows[name].against}-seed{seed}" if rows[name].against else "")
    assert len(rows) == len(firsts(rows)) + 2 * len(SEEDED)
    assert set(SEEDED) == {name for claim in CLAIMS for pair in claim.pairs for name in pair}


def test_each_row_changes_one_thing_against_its_neighbour(lanes):
    for lane in lanes.values():
        for name, row in lane.ablations.items():
            changed = tuple(change.name for change in changes(row, lane.ablations))
            assert changed in ONE_THING if row.against else changed == (), name


def test_the_changes_are_those_of_the_whole_configurations():
    rows = PRESETS["quick"].lanes["oct"].ablations
    texts = {name: "; ".join(map(str, changes(row, rows))) for name, row in rows.items()}
    assert texts["enc_dec_soft"] == "method auto_encoder → memae"
    assert texts["enc_dec_mem"] == "model.memory soft → nearest"
    assert texts["si"] == "method auto_encoder → proxyano; steps 1200 → 600 + 600"
    assert texts["si_rep"] == "model.lambda_global 0 → 0.25; model.lambda_local 0 → 0.5"
    assert texts["memory_2048"] == "model.memory_items 128 → 2048"
    assert texts["final"] == "score image → latent"
    other = replace(rows["si"], seed=4)
    assert [str(change) for change in differences(rows["si"], other)] == ["seed 0 → 4"]
    assert differences(rows["si"], rows["si"]) == []


def test_all_rows_have_one_budget_and_the_final_one_is_the_paper_s_method(lanes):
    for lane in lanes.values():
        canvases = {
            (canvas, sum(stage.steps for stage in plan.stages.values()))
            for row in lane.ablations.values()
            for canvas, plan in row.training.canvases.items()
        }
        assert len(canvases) == len({canvas for canvas, *_ in canvases})
        for row in lane.ablations.values():
            assert row.training.canvases.keys() == lane.training.canvases.keys()
            for plan in row.training.canvases.values():
                assert len({replace(stage, steps=1) for stage in plan.stages.values()}) == 1
    final = next(iter(PRESETS["paper"].lanes["oct"].ablations["final"].training.canvases.values())).model
    assert final == METHODS["proxyano"].config_type()


def test_an_equal_first_stage_has_an_equal_hash_and_equal_weights_to_begin_with():
    rows = PRESETS["quick"].lanes["oct"].ablations
    first = {
        name: row.training.first_stage().of_stage("stage1")
        for name, row in rows.items()
        if row.training.method == "proxyano" and row.proxies.kind == "slic"
    }
    with_memory = [name for name in first if first[name] == first["final"]]
    without = [name for name in first if first[name] == first["si"]]
    assert {"si_mem", "si_mem_rep", "global_0", "local_1"} <= set(with_memory)
    assert set(firsts(without)) == {"si", "si_rep"}, "one seed's; another one's weights are others"
    assert set(first) - {*with_memory, *without} == {name for name in rows if name.startswith("memory_")}
    plans = [rows["local_0"].training, rows["local_0"].training.first_stage()]
    methods = [build("proxyano", plan.canvases["wide"].model, seed=5) for plan in plans]
    one, other = (method.get_submodule("extraction").state_dict() for method in methods)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_code_version_knows_what_decides_the_result_and_no_more():
    lane = PRESETS["quick"].lanes["oct"]
    versions = {name: lane.baseline_version("ablations", name) for name in lane.ablations}
    assert versions["final"] == versions["si_mem_rep"], "they differ in the score that is read alone"
    assert len(set(versions.values())) == len(versions) - 3, "and so with the other two seeds"
    finer = replace(lane.ablations["si"], proxies=replace(lane.ablations["si"].proxies, segments=900))
    changed = replace(lane, ablations={**lane.ablations, "si": finer})
    assert {n for n in versions if changed.baseline_version("ablations", n) != versions[n]} == {"si"}
    longer = replace(lane, evaluation=replace(lane.evaluation, resamples=999))
    assert all(longer.baseline_version("ablations", name) != versions[name] for name in versions)


def test_the_paper_s_tables_and_claims_name_rows_that_exist():
    lanes = PRESETS["quick"].lanes
    for printed in PRINTED:
        assert {entry.name for entry in printed.entries} <= set(lanes[printed.dataset].ablations), printed.key
        assert bool(printed.axis) == any(entry.x is not None for entry in printed.entries)
    for claim in CLAIMS:
        assert {name for pair in claim.pairs for name in pair} <= set(lanes[claim.dataset].ablations), claim.text
    shown = {(one.dataset, entry.name) for one in PRINTED for entry in one.entries}
    rows = {(name, row) for name in ("oct", "brain_mri") for row in firsts(lanes[name].ablations)}
    assert shown == rows


def test_a_row_without_its_neighbour_has_none():
    sample = PRESETS["sample"].lanes["brain_mri"].ablations
    assert {name: row.against for name, row in sample.items()} == {"si_mem_rep": "", "final": "si_mem_rep"}
