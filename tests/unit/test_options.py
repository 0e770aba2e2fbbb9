from dataclasses import replace

import pytest

from pipeline.experiments.lane import in_colour, with_split
from pipeline.experiments.presets import PRESETS
from pipeline.forms import FORMS

LANES = [(preset, name) for preset, held in PRESETS.items() for name in held.lanes]


@pytest.mark.parametrize(("preset", "name"), LANES)
def test_every_lane_names_a_form_and_trains_and_scores_its_canvases(preset, name):
    lane = PRESETS[preset].lanes[name]
    canvases = set(FORMS[lane.tiles.form].canvases)
    assert set(lane.training.canvases) == canvases == set(lane.evaluation.scores)
    assert {control.canvas for control in lane.evaluation.controls} <= canvases


def test_canonical_forms_are_on_except_in_the_paper_preset():
    forms = {preset: {lane.tiles.form for lane in held.lanes.values()} for preset, held in PRESETS.items()}
    assert forms["sample"] == forms["quick"] == {"inner_head", "bruch_membrane", "flat_field"}
    assert forms["paper"] == {"plain", "field_of_view"}


def test_full_is_quick_trained_until_validation_stops_it_with_the_adversarial_loss():
    for name, lane in PRESETS["quick"].lanes.items():
        longer = PRESETS["full"].lanes[name]
        assert replace(longer, training=lane.training, ablations=lane.ablations) == lane
        for canvas, one in longer.training.canvases.items():
            fewer = lane.training.canvases[canvas]
            assert one.size == fewer.size
            assert one.model.adversarial
            assert not fewer.model.adversarial
            for stage, row in one.stages.items():
                assert row.steps > fewer.stages[stage].steps
                assert (row.schedule, row.weight_average) == ("plateau", 0.0)
                assert row.patience > 0


def test_real_lanes_train_at_128_px_on_superpixels_of_that_size_and_paper_at_256():
    for name, lane in PRESETS["quick"].lanes.items():
        sizes = {canvas: plan.size for canvas, plan in lane.training.canvases.items()}
        assert lane.proxies.sizes == sizes
        assert {height * width for height, width in sizes.values()} == {128 * 128}
        assert {lane.proxies.at_size(size).segments for size in sizes.values()} == {200}
        paper = PRESETS["paper"].lanes[name].training.canvases.values()
        assert {plan.size for plan in paper} == {(256, 256)}


def test_the_leaking_protocol_changes_the_images_and_nothing_else():
    lane = PRESETS["quick"].lanes["brain_mri"]
    leaking = with_split(lane, "paper_random", 0)
    assert leaking.images.protocol == "paper_random"
    assert leaking.code_version("images") != lane.code_version("images")
    assert leaking.code_version("tiles") == lane.code_version("tiles")


def test_colour_reaches_form_and_network_of_fundus_images_alone():
    colour = in_colour(PRESETS["quick"].lanes["idrid"])
    assert colour.tiles.form == "flat_field_rgb"
    assert {canvas.model.channels for canvas in colour.training.canvases.values()} == {3}
    brain = in_colour(replace(PRESETS["quick"].lanes["brain_mri"], tiles=PRESETS["quick"].lanes["idrid"].tiles))
    of_members = [canvas.model.channels for plan in brain.members.values() for canvas in plan.canvases.values()]
    assert set(of_members) == {3}
    oct_lane = PRESETS["quick"].lanes["oct"]
    assert in_colour(oct_lane) is oct_lane
