"""What every registered method keeps; a new method is tested by existing.

Its configuration is made small by the names of its fields (`TINY`): one word means one thing in all methods.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.optim import Adam

from models import losses as terms
from models.card import model_card
from models.checkpoint import load_method, read_description, save_method, weights_hash
from models.method import Batch, Method, MethodConfig, Phase, Scores, Stage
from models.methods import METHODS, build
from models.methods.proxyano_config import ProxyAnoConfig
from models.methods.segmentation import Segmentation
from models.prediction import predict
from models.schedule import TrainConfig
from models.source import TensorSource
from models.trainer import fit

SIDE = 32
TINY: dict[str, object] = {
    "widths": (8, 12, 16),
    "discriminator_widths": (8, 8, 12, 12),
    "latent_dim": 8,
    "memory_items": 16,
    "size": (SIDE, SIDE),
    "width": 16,
    "widest": 32,
    "sparse_dim": 8,
    "blocks": 2,
    "pool": 4,
    "search_steps": 5,
    "critic_steps": 2,
}
RESUME = TrainConfig(
    steps=6, batch_size=3, weight_average=0.9, evaluate_every=3, checkpoint_every=3, log_every=1, device="cpu"
)

SHORT = dataclasses.replace(RESUME, steps=3)


def tiny(name: str, **changes: object) -> MethodConfig:
    """The method's configuration with every field small that `TINY` names, and changes for fields it has."""
    kind = METHODS[name].config_type
    known = {field.name for field in dataclasses.fields(kind)}
    return kind.from_json({field: value for field, value in (TINY | changes).items() if field in known})


VARIANTS: dict[str, tuple[str, MethodConfig]] = {name: (name, tiny(name)) for name in METHODS} | {
    "proxyano-rgb": ("proxyano", tiny("proxyano", channels=3)),
    "proxyano-makers": ("proxyano", tiny("proxyano", makers=("blob", "patch", "bump"), patch_on="predicted")),
    "proxyano-image": (
        "proxyano",
        tiny(
            "proxyano",
            makers=("mass", "noise"),
            patch_on="image",
            reconstruction_skips=True,
            reconstruction_widths=(8, 12, 16, 16),
        ),
    ),
    "proxyano-bare": ("proxyano", tiny("proxyano", memory="none", lambda_global=0.0, lambda_local=0.0)),
    "proxyano-two_channel_proxy": ("proxyano", tiny("proxyano", proxy_channels=2)),
    "memae-nearest": ("memae", tiny("memae", memory="nearest")),
    "proxyano-plain": (
        "proxyano",
        ProxyAnoConfig(
            widths=(8, 12),
            adversarial=False,
            head="sigmoid",
            reconstruction_skips=True,
            patch_on="predicted",
            contrast=2.0,
            invalid_fill=0.3,
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


def images(method: Method, count: int = 6, size: tuple[int, int] = (SIDE, SIDE)) -> TensorSource:
    """Blocks, alike in all images but for a third, with noise on them; their proxies are the blocks.

    The first half has no data in its first five rows.
    """
    draw = torch.Generator().manual_seed(2)
    shape = (method.config.channels, size[0] // 4, size[1] // 4)
    common = torch.randint(0, 151, (1, *shape), generator=draw)
    blocks = common + torch.randint(0, 76, (count, *shape), generator=draw)
    proxies = blocks.repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.randint(0, 30, proxies.shape, generator=draw)
    valid = torch.ones(count, *size, dtype=torch.uint8)
    valid[: count // 2, :5] = 0
    own = proxies.expand(-1, proxy_channels(method), -1, -1) if proxy_channels(method) > 1 else proxies
    return TensorSource(images=(proxies + noise).byte(), proxies=own.byte(), valid=valid)


def proxy_channels(method: Method) -> int:
    config = method.config
    return config.of_proxy if isinstance(config, ProxyAnoConfig) else config.channels


def batch_of(method: Method) -> Batch:
    source = images(method)
    return source.batch(torch.arange(len(source)))


def score_source(method: Method, source: TensorSource) -> TensorSource:
    """What a method may see when it scores: true proxies only if it says that it needs them."""
    return source if method.needs_proxy else dataclasses.replace(source, proxies=None)


def trained(variant: str, count: int) -> Method:
    method = small(variant)
    for stage in method.stages:
        steps(method, stage, stage.phases, count)
    return method.eval()


def kept(method: Method) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def steps(method: Method, stage: Stage, phases: tuple[Phase, ...], count: int) -> None:
    """Train phases in turn on one batch, as the trainer would, but faster."""
    batch, draw = batch_of(method), generator()
    optimisers = {phase.name: optimiser(method, phase) for phase in phases}
    for step in range(count):
        for phase in phases:
            if step % phase.every == 0:
                method.activate(phase)
                optimisers[phase.name].zero_grad()
                torch.stack(list(method.losses(stage.name, phase.name, batch, draw).values())).sum().backward()
                optimisers[phase.name].step()


def optimiser(method: Method, phase: Phase) -> Adam:
    parameters = [value for module in phase.modules for value in method.get_submodule(module).parameters()]
    return Adam(parameters, lr=2e-3 * phase.rate, betas=phase.betas)


def test_methods_are_registered_by_their_own_names() -> None:
    assert all(kind.name == name for name, kind in METHODS.items())
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


def in_order(source: TensorSource, rows: torch.Tensor) -> TensorSource:
    return TensorSource(**{name: value[rows] for name, value in vars(source).items() if value is not None})


def equal_scores(found: Scores, expected: Scores) -> bool:
    return all(torch.equal(getattr(found, name), value) for name, value in vars(expected).items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_do_not_depend_on_the_batch(variant: str) -> None:
    torch.set_num_threads(2)
    method = trained(variant, 3)
    source = score_source(method, images(method, 7))
    before, random = kept(method), torch.get_rng_state()
    whole = predict(method, source, batch_size=7)
    for size in (1, 2, 7):
        assert equal_scores(predict(method, source, batch_size=size), whole)
    order = torch.tensor([3, 6, 0, 5, 2, 4, 1])
    turned = Scores(**{name: value[order] for name, value in vars(whole).items()})
    assert equal_scores(predict(method, in_order(source, order), batch_size=2), turned)
    for count in (1, 2, 7):
        rows = torch.arange(count)
        part = Scores(**{name: value[rows] for name, value in vars(whole).items()})
        assert equal_scores(method.score(source.batch(rows)), part)
    assert same(kept(method), before)
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(RuntimeError, match="eval"):
        method.train().score(batch_of(method))


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_have_shapes_and_ranges(variant: str) -> None:
    method = trained(variant, 2)
    source = score_source(method, images(method))
    found, batch = predict(method, source), batch_of(method)
    assert found.latent.shape == found.image.shape == source.images.shape[:1]
    assert found.residual.shape == found.reconstruction.shape == source.images.shape
    assert found.proxy.shape == (len(source), proxy_channels(method), SIDE, SIDE)
    assert found.map.shape == source.images.shape
    marks = isinstance(method, Segmentation)
    assert torch.equal(found.map, found.residual) != marks
    assert not marks or (found.map >= 0).all()
    assert (found.map * (1 - batch.valid) == 0).all()
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in vars(found).values())
    assert (found.latent >= 0).all()
    torch.testing.assert_close(found.residual, (batch.image - found.reconstruction) * batch.valid)
    norm = terms.frobenius(found.residual, batch.valid, corrected=True)
    torch.testing.assert_close(found.image, norm, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_image_scores_look_only_where_they_may(variant: str) -> None:
    method = trained(variant, 2)
    plain = score_source(method, images(method))
    scored = torch.ones(6, SIDE, SIDE, dtype=torch.uint8)
    scored[:, :, 20:] = 0
    half = predict(method, dataclasses.replace(plain, scored=scored))
    whole = predict(method, plain)
    assert torch.equal(half.residual, whole.residual)
    norm = terms.frobenius(half.residual, batch_of(method).valid * scored[:, None], corrected=True)
    torch.testing.assert_close(half.image, norm, rtol=1e-4, atol=1e-5)
    assert plain.valid is not None
    altered = torch.where(plain.valid[:, None] > 0, plain.images, 200)
    other = predict(method, dataclasses.replace(plain, images=altered))
    assert all(torch.equal(getattr(other, name), value) for name, value in vars(whole).items())


@pytest.mark.parametrize("size", [(64, 64), (32, 128)])
@pytest.mark.parametrize("name", METHODS)
def test_other_sizes_and_channels(name: str, size: tuple[int, int]) -> None:
    method = build(name, tiny(name, size=size, channels=3), seed=0).eval()
    source = images(method, 2, size)
    found = predict(method, score_source(method, source))
    assert found.residual.shape == found.proxy.shape == (2, 3, *size)
    for stage in method.stages:
        for phase in stage.phases:
            method.activate(phase)
            named = method.losses(stage.name, phase.name, source.batch(torch.arange(2)), generator())
            assert all(torch.isfinite(value) for value in named.values())


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
        hashes.add(weights_hash(method))
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
        assert weights_hash(resumed) == weights_hash(straight) != weights_hash(small(variant))
        start = kept(straight)


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_and_loaded_methods_are_equal(variant: str, tmp_path: Path) -> None:
    method = small(variant)
    for stage in method.stages:
        steps(method, stage, stage.phases, 2)
        version = save_method(method, tmp_path / stage.name, stage=stage.name, extra={"why": "test"})
        loaded = load_method(tmp_path / stage.name)
        assert version == weights_hash(method) == weights_hash(loaded)
        assert loaded.config == method.config
        one, other = (predict(each, score_source(method, images(method))) for each in (method, loaded))
        assert all(torch.equal(getattr(other, name), value) for name, value in vars(one).items())


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
        assert field.metadata["paper"] in ("stated", "left open", "ablation")
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
        {"memory": "soft"},
        {"proxy_channels": -1},
        {"makers": ("blob",), "proxy_channels": 2},
    ],
)
def test_proxyano_refuses_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProxyAnoConfig.from_json(wrong)


def test_a_field_that_takes_a_part_away_is_in_no_hash_until_it_does() -> None:
    plain = ProxyAnoConfig().to_json()
    assert not {"memory", "proxy_channels"} & plain.keys()
    assert ProxyAnoConfig(memory="none").to_json() == plain | {"memory": "none"}
    assert "| memory | `nearest` |" in model_card(ProxyAnoConfig())


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


def test_sizes_that_cannot_be_halved_are_refused() -> None:
    method = small("proxyano").eval()
    with pytest.raises(ValueError, match="multiples of 4, got 30×32"):
        method.score(Batch(torch.zeros(1, 1, 30, 32), None, torch.ones(1, 1, 30, 32)))
