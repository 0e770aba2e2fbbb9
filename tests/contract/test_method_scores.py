"""What scores, checkpoints and configurations of every registered method keep."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from models import losses as terms
from models.checkpoint import content_hash, load_method, read_description, save_method, write_tensors
from models.method import Batch, Scores, model_card
from models.methods import METHODS, build
from models.methods.proxyano_config import ProxyAnoConfig
from models.methods.segmentation import Segmentation
from models.prediction import predict
from models.source import TensorSource
from tests.contract.tiny_methods import (
    SIDE,
    VARIANTS,
    batch_of,
    generator,
    images,
    kept,
    proxy_channels,
    same,
    score_source,
    small,
    steps,
    tiny,
    trained,
)


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
    norm = terms.frobenius(found.residual, batch.valid)
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
    norm = terms.frobenius(half.residual, batch_of(method).valid * scored[:, None])
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_and_loaded_methods_are_equal(variant: str, tmp_path: Path) -> None:
    method = small(variant)
    for stage in method.stages:
        steps(method, stage, stage.phases, 2)
        version = save_method(method, tmp_path / stage.name, stage=stage.name, extra={"why": "test"})
        loaded = load_method(tmp_path / stage.name)
        assert version == content_hash(method.state_dict()) == content_hash(loaded.state_dict())
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


def test_a_network_of_other_code_is_refused_in_one_sentence(tmp_path: Path) -> None:
    method = small("proxyano-plain")
    save_method(method, tmp_path, stage="stage1")
    tensors = method.state_dict()
    del tensors[next(iter(tensors))]
    write_tensors(tmp_path / "weights.safetensors", tensors, {"format": 2})
    description = read_description(tmp_path) | {"weights": content_hash(tensors)}
    (tmp_path / "method.json").write_text(json.dumps(description))
    with pytest.raises(
        ValueError, match=r"other code: 1 tensors differ, .*: expected \(.*\), got None; train it again"
    ):
        load_method(tmp_path)


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
        {"patch_count": (3, 2)},
        {"patch_on": "predicted"},
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


def test_sizes_that_cannot_be_halved_are_refused() -> None:
    method = small("proxyano").eval()
    with pytest.raises(ValueError, match="multiples of 4, got 30×32"):
        method.score(Batch(torch.zeros(1, 1, 30, 32), None, torch.ones(1, 1, 30, 32)))
