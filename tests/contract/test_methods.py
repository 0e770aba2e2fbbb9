"""What every registered method keeps; a new method needs only a small configuration here."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.optim import Adam

from models.card import model_card
from models.checkpoint import load_method, read_description, save_method, weights_hash
from models.method import Batch, Method, MethodConfig, Phase, Stage
from models.methods import METHODS, build
from models.methods.proxyano_config import ProxyAnoConfig
from models.prediction import predict
from models.source import TensorSource

SIDE = 32
SMALL: dict[str, MethodConfig] = {
    "proxyano": ProxyAnoConfig(widths=(8, 12, 16), latent_dim=8, memory_items=16, discriminator_widths=(8, 8, 12, 12)),
}
VARIANTS: dict[str, tuple[str, MethodConfig]] = {name: (name, config) for name, config in SMALL.items()} | {
    "proxyano-rgb": ("proxyano", dataclasses.replace(SMALL["proxyano"], channels=3)),
    "proxyano-plain": (
        "proxyano",
        ProxyAnoConfig(
            widths=(8, 12), adversarial=False, head="sigmoid", reconstruction_skips=True, patch_on="predicted"
        ),
    ),
}
PHASES = [
    pytest.param(variant, stage, phase, id=f"{variant}-{stage.name}-{phase.name}")
    for variant, (name, config) in VARIANTS.items()
    for stage in build(name, config, seed=0).stages
    for phase in stage.phases
]


def small(variant: str) -> Method:
    name, config = VARIANTS[variant]
    return build(name, config, seed=0)


def images(method: Method, count: int = 6) -> TensorSource:
    draw = torch.Generator().manual_seed(2)
    shape = (count, method.config.channels, SIDE // 4, SIDE // 4)
    proxies = torch.randint(0, 226, shape, generator=draw).repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.randint(0, 30, proxies.shape, generator=draw)
    valid = torch.ones(count, SIDE, SIDE, dtype=torch.uint8)
    valid[: count // 2, :5] = 0
    return TensorSource(images=(proxies + noise).byte(), proxies=proxies.byte(), valid=valid)


def batch_of(method: Method) -> Batch:
    source = images(method)
    return source.batch(torch.arange(len(source)))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def steps(method: Method, stage: Stage, phases: tuple[Phase, ...], count: int) -> None:
    """Train phases in turn on one batch."""
    batch, draw = batch_of(method), generator()
    optimisers = {
        phase.name: Adam([p for module in phase.modules for p in method.get_submodule(module).parameters()], lr=2e-3)
        for phase in phases
    }
    for _ in range(count):
        for phase in phases:
            method.activate(phase)
            optimisers[phase.name].zero_grad()
            torch.stack(list(method.losses(stage.name, phase.name, batch, draw).values())).sum().backward()
            optimisers[phase.name].step()


def test_every_method_has_a_small_configuration() -> None:
    assert SMALL.keys() == METHODS.keys()
    assert all(kind.name == name for name, kind in METHODS.items())


@pytest.mark.parametrize(("variant", "stage", "phase"), PHASES)
def test_a_phase_changes_all_its_weights_and_no_others(variant: str, stage: Stage, phase: Phase) -> None:
    method = small(variant)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    steps(method, stage, (phase,), 3)
    own = tuple(f"{module}." for module in phase.modules)
    parameters = {name for name, _ in method.named_parameters() if name.startswith(own)}
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert parameters
    assert parameters <= changed
    assert all(name.startswith(own) for name in changed)


@pytest.mark.parametrize(("variant", "stage", "phase"), PHASES)
def test_losses_are_named_finite_and_repeatable(variant: str, stage: Stage, phase: Phase) -> None:
    values = []
    for _ in range(2):
        method = small(variant)
        method.activate(phase)
        named = method.losses(stage.name, phase.name, batch_of(method), generator())
        assert named
        assert all(value.ndim == 0 and torch.isfinite(value) for value in named.values())
        values.append({name: value.item() for name, value in named.items()})
    assert values[0] == values[1]


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
        for count in (2, 40):
            steps(method, stage, stage.phases, count)
            method.eval()
            with torch.no_grad():
                values.append(sum(value.item() for value in method.validation(stage.name, batch_of(method)).values()))
        assert values[1] < 0.8 * values[0], stage.name


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_have_shapes_and_do_not_depend_on_the_batch(variant: str) -> None:
    method = small(variant)
    for stage in method.stages:
        steps(method, stage, stage.phases, 3)
    with pytest.raises(RuntimeError, match="eval"):
        method.score(batch_of(method))
    source = images(method)
    whole = predict(method, source, batch_size=6)
    shape = source.images.shape
    assert whole.latent.shape == whole.image.shape == shape[:1]
    assert whole.residual.shape == whole.reconstruction.shape == whole.proxy.shape == shape
    assert (whole.latent >= 0).all()
    assert (whole.residual[:3, :, :5] == 0).all()
    turned = torch.arange(5, -1, -1)
    pieces = predict(method, TensorSource(images=source.images[turned], valid=source.valid[turned]), batch_size=4)
    for field in dataclasses.fields(whole):
        expected, found = getattr(whole, field.name), getattr(pieces, field.name)[turned]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_and_loaded_methods_are_equal(variant: str, tmp_path: Path) -> None:
    method = small(variant)
    for stage in method.stages:
        steps(method, stage, stage.phases, 2)
        version = save_method(method, tmp_path / stage.name, stage=stage.name, extra={"why": "test"})
        loaded = load_method(tmp_path / stage.name)
        assert version == weights_hash(method) == weights_hash(loaded)
        assert loaded.config == method.config
        one, other = (predict(each, images(method)) for each in (method, loaded))
        assert torch.equal(one.latent, other.latent)
        assert torch.equal(one.residual, other.residual)


def test_incomplete_and_altered_checkpoints_are_refused(tmp_path: Path) -> None:
    method = small("proxyano-plain")
    with pytest.raises(FileNotFoundError, match=r"method\.json is missing"):
        load_method(tmp_path)
    save_method(method, tmp_path / "a", stage="stage1")
    description = tmp_path / "a" / "method.json"
    altered = read_description(tmp_path / "a") | {"weights": "0" * 16}
    description.write_text(json.dumps(altered))
    with pytest.raises(ValueError, match="expected 0000"):
        load_method(tmp_path / "a")
    description.write_text(json.dumps(altered | {"format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_method(tmp_path / "a")


@pytest.mark.parametrize("variant", VARIANTS)
def test_configurations_survive_json_and_explain_themselves(variant: str) -> None:
    _, config = VARIANTS[variant]
    assert type(config).from_json(json.loads(json.dumps(config.to_json()))) == config
    card = model_card(config)
    for field in dataclasses.fields(config):
        assert f"| {field.name} |" in card
        assert field.metadata["why"], field.name
        assert field.metadata["paper"] in ("stated", "left open")
    with pytest.raises(ValueError, match="no field nonsense"):
        type(config).from_json({"nonsense": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": ()},
        {"memory_decay": 1.0},
        {"patch_count": (0, 2)},
        {"patch_side": (0.5, 0.2)},
        {"head": "tanh"},
        {"invalid_fill": 2.0},
        {"lambda_local": -1.0},
    ],
)
def test_proxyano_refuses_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProxyAnoConfig.from_json(wrong)


def test_sizes_that_cannot_be_halved_are_refused() -> None:
    method = small("proxyano").eval()
    with pytest.raises(ValueError, match="multiples of 4, got 30×32"):
        method.score(Batch(torch.zeros(1, 1, 30, 32), None, torch.ones(1, 1, 30, 32)))
