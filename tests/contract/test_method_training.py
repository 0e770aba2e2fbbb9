"""What the training of every registered method keeps: phases, losses, validation, resume."""

from pathlib import Path

import pytest
import torch

from models.checkpoint import content_hash
from models.method import Batch, Method, Phase, Stage
from models.methods import METHODS, build
from models.trainer import fit
from tests.contract.tiny_methods import (
    PHASES,
    RESUME,
    SHORT,
    VARIANTS,
    batch_of,
    generator,
    images,
    kept,
    same,
    small,
    steps,
    tiny,
    trained,
)


def test_methods_are_registered_by_their_own_names_and_have_a_label() -> None:
    assert all(kind.name == name for name, kind in METHODS.items())
    assert len({kind.label for kind in METHODS.values()}) == len(METHODS)
    for name in METHODS:
        stages = [stage.name for stage in build(name, tiny(name), seed=0).stages]
        assert [stage.name for stage in METHODS[name].stages] == stages
    assert all(kind.config_type().channels == 1 for kind in METHODS.values())


@pytest.mark.parametrize(("variant", "stage", "phase"), PHASES)
def test_a_phase_changes_all_its_weights_and_no_others(variant: str, stage: Stage, phase: Phase) -> None:
    method = small(variant)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    steps(method, stage, (phase,), 2 * phase.every + 1)
    own = tuple(f"{module}." for module in phase.modules)
    parameters = {name for name, _ in method.named_parameters() if name.startswith(own)}
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert parameters
    assert parameters <= changed
    assert all(name.startswith(own) for name in changed)


@pytest.mark.parametrize(("variant", "stage", "phase"), PHASES)
def test_losses_are_named_finite_and_from_the_generator_alone(variant: str, stage: Stage, phase: Phase) -> None:
    values = []
    for seed in range(2):
        method = small(variant)
        method.activate(phase)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            named = method.losses(stage.name, phase.name, batch_of(method), generator())
        assert named
        assert all(value.ndim == 0 and torch.isfinite(value) for value in named.values())
        values.append({name: value.item() for name, value in named.items()})
    assert values[0] == values[1]


@pytest.mark.parametrize(("variant", "stage", "phase"), PHASES)
def test_what_is_stored_outside_the_data_is_in_no_loss(variant: str, stage: Stage, phase: Phase) -> None:
    values = []
    for change in (lambda value, valid: value, lambda value, valid: torch.where(valid > 0, value, 0.9)):
        method = small(variant)
        batch = batch_of(method)
        batch = Batch(change(batch.image, batch.valid), change(batch.true_proxy(), batch.valid), batch.valid)
        method.activate(phase)
        named = method.losses(stage.name, phase.name, batch, generator())
        named |= {f"validation/{name}": value for name, value in method.eval().validation(stage.name, batch).items()}
        values.append({name: value.item() for name, value in named.items()})
    assert values[0] == values[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_validation_is_repeatable_and_changes_nothing(variant: str) -> None:
    method = trained(variant, 2)
    before = kept(method)
    for stage in method.stages:
        values = []
        for seed in range(2):
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(seed)
                named = method.validation(stage.name, batch_of(method))
            assert named
            assert all(value.ndim == 0 and torch.isfinite(value) for value in named.values())
            values.append({name: value.item() for name, value in named.items()})
        assert values[0] == values[1]
    assert same(kept(method), before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_unknown_stage_or_phase_is_an_error(variant: str) -> None:
    method = small(variant)
    with pytest.raises(ValueError, match="no stage 'stage9'"):
        method.stage("stage9")
    with pytest.raises(ValueError, match="no phase"):
        method.losses(method.stages[0].name, "nothing", batch_of(method), generator())


@pytest.mark.parametrize("variant", VARIANTS)
def test_validation_falls_on_one_repeated_batch(variant: str) -> None:
    method = small(variant)
    for stage in method.stages:
        values = []
        for count in (2, *[8] * 15):
            steps(method, stage, stage.phases, count)
            method.eval()
            with torch.no_grad():
                values.append(sum(value.item() for value in method.validation(stage.name, batch_of(method)).values()))
            if max(values[-2:]) < 0.8 * values[0]:  # twice in a row: no lucky dip of a noisy curve
                break
        assert max(values[-2:]) < 0.8 * values[0], (stage.name, values)


@pytest.mark.parametrize("variant", METHODS)
def test_equal_seeds_on_two_threads_give_equal_weights(variant: str, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    hashes = set[str]()
    for number in range(2):
        method = small(variant)
        source = images(method, 7)
        for stage in method.stages:
            place = tmp_path / f"{stage.name}{number}"
            fit(method, stage.name, source, source, SHORT, place, seed=1, progress=False)
        hashes.add(content_hash(method.state_dict()))
    assert len(hashes) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_broken_off_training_goes_on_exactly(variant: str, tmp_path: Path) -> None:
    def breaks(step: int, figures: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    def run(start: dict[str, torch.Tensor], stage: str, folder: str, *, broken: bool = False) -> Method:
        method = small(variant)
        method.load_state_dict(start)
        source, place = images(method, 7), tmp_path / stage / folder
        log = breaks if broken else None
        result = fit(method, stage, source, source, RESUME, place, seed=1, log=log, progress=False)
        assert result.steps == RESUME.steps
        return method

    start = kept(small(variant))
    for stage in small(variant).stages:
        straight = run(start, stage.name, "straight")
        with pytest.raises(KeyboardInterrupt):
            run(start, stage.name, "broken", broken=True)
        resumed = run(start, stage.name, "broken")
        assert (
            content_hash(resumed.state_dict())
            == content_hash(straight.state_dict())
            != content_hash(small(variant).state_dict())
        )
        start = kept(straight)


def test_what_only_the_second_stage_reads_changes_nothing_in_the_first() -> None:
    own = tiny("proxyano", lambda_global=0.0, patch_on="image", reconstruction_widths=(8, 12, 16, 16))
    alone = own.of_first_stage()
    assert alone == tiny("proxyano").of_first_stage()
    assert alone != tiny("proxyano", memory_items=8).of_first_stage()
    methods = [build("proxyano", config, seed=3) for config in (own, alone)]
    for method in methods:
        steps(method, method.stage("stage1"), method.stage("stage1").phases, 3)
    found = [{name: value for name, value in kept(m).items() if name.startswith("extraction.")} for m in methods]
    assert same(*found)
